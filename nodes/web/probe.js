// The live chart of Identity Probe, and the final one on Identity Drift Report: keeps what the server tells of each run,
// and hands it to the charts. It asks the server for nothing but the faces of the step that is pointed at.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { pick, picked, use } from "./act.js";
import { Chart } from "./chart.js";
import { same } from "./curves.js";

const PROBE = "InfuseNet_IdentityProbe", REPORT = "InfuseNet_DriftReport";
const EVENT = "infusenet.probe";
const STORE = "infusenet.probe.runs";
const KEPT = 6; // of one sampler: the newest run and five faint ones
const POINTS = 400; // of a run that is kept; more are thinned out
const charts = new Map(); // node object -> Chart

const workflows = new Map(); // prompt -> the workflow that it was made from

const memory = (() => { // "workflow/execution id" -> runs, the newest first
    try { return JSON.parse(sessionStorage.getItem(STORE)) ?? {}; } catch { return {}; }
})();
let saving = 0;
function write() {
    clearTimeout(saving);
    saving = 0;
    try { sessionStorage.setItem(STORE, JSON.stringify(memory)); } catch { /* full: the charts live on without */ }
}
function save() { // survives a reload of the page; at most every two seconds, and when the page is left
    saving ||= setTimeout(write, 2000);
}

const root = () => app.rootGraph ?? app.graph;
const open = () => root()?.id ?? ""; // the workflow that is shown
const keyOf = (id, workflow) => `${workflow ?? open()}/${id}`;

function nodeAt(id) { // "12:7" is node 7 in the subgraph of node 12
    let graph = root(), node;
    for (const part of String(id ?? "").split(":")) {
        node = graph?.getNodeById?.(Number(part)) ?? graph?.getNodeById?.(part);
        graph = node?.subgraph;
    }
    return node;
}

function idsOf(node, graph = root(), path = "", found = []) { // every execution id under which a node runs
    for (const one of graph?.nodes ?? graph?._nodes ?? []) {
        if (one === node) found.push(path + one.id);
        if (one.subgraph) idsOf(node, one.subgraph, `${path}${one.id}:`, found);
    }
    return found;
}

// A new run goes to the front, a known one is replaced, or becomes the newest; whichever workflow is shown meanwhile.
function put(id, workflow, run, newest = false) {
    const runs = (memory[keyOf(id, workflow)] ??= []), at = runs.findIndex((one) => one.run === run.run);
    if (at >= 0 && !newest) runs[at] = { ...run, time: runs[at].time };
    else {
        if (at >= 0) runs.splice(at, 1);
        runs.unshift({ ...run, time: Date.now() });
    }
    const alike = runs.filter((one) => same(one, run));
    if (alike.length > KEPT) runs.splice(runs.indexOf(alike.at(-1)), 1);
    save();
    if ((workflow ?? open()) === open()) redraw(id);
}

let waiting = new Set();
function redraw(id) { // once a frame, however many points come
    if (!waiting.size) requestAnimationFrame(() => {
        const ids = waiting;
        waiting = new Set();
        for (const node of new Set([...ids].map(nodeAt))) if (charts.has(node)) refresh(node);
    });
    waiting.add(id);
}

function refresh(node) {
    const runs = idsOf(node).flatMap((id) => memory[keyOf(id)] ?? []).sort((a, b) => b.time - a.time);
    charts.get(node).show(runs, (sampler) => nodeAt(sampler)?.title, picked(node, REPORT));
}

function clear(node) { // the newest run of each sampler stays
    for (const id of idsOf(node)) {
        const runs = memory[keyOf(id)] ?? [];
        memory[keyOf(id)] = runs.filter((run, place) => runs.findIndex((other) => same(run, other)) === place);
    }
    save();
    refresh(node);
}

function attach(node) {
    const report = node.comfyClass === REPORT;
    const chart = new Chart(report, {
        clear: () => clear(node),
        seen: ({ run }, { step, finished, item }, whole) => {
            const asked = [whole && "whole", item !== undefined && `item=${item}`].filter(Boolean).join("&");
            return api.apiURL(`/infusenet/seen/${run}/${finished ? "finished" : step}${asked && `?${asked}`}`);
        },
        use: (changes) => use(node, changes),
        pick: ({ step }) => {
            const said = pick(node, REPORT, step);
            for (const shown of charts.keys()) refresh(shown);
            return said;
        },
    });
    const widget = node.addDOMWidget("infusenet_chart", "infusenet_chart", chart.element, {
        serialize: false, hideOnZoom: false, getMinHeight: () => (report ? 420 : 255),
        getValue: () => "", setValue: () => {},
    });
    widget.serialize = false; // not in the workflow's widget values either
    chart.plot.addEventListener("wheel", (event) => { // zooms as beside it; Nodes 2.0 sees to that by itself
        if (!globalThis.LiteGraph?.vueNodesMode) app.canvas?.processMouseWheel?.(event);
    });
    node.setSize?.([Math.max(node.size[0], report ? 380 : 300), node.size[1]]); // a new one; a saved size comes after this
    charts.set(node, chart);
    const removed = node.onRemoved;
    node.onRemoved = function (...args) { chart.hover(); charts.delete(node); return removed?.apply(this, args); };
    setTimeout(() => { if (charts.has(node)) refresh(node); }, 0); // its id is known only after it has joined the graph
}

function thinned(points) { // every other one, where there are too many; the newest stays
    return points.length < 2 * POINTS ? points : points.filter((_, place) => (points.length - 1 - place) % 2 === 0);
}

function probed({ detail }) {
    const { node, workflow, run, start, end, point, gone, ...told } = detail ?? {};
    if (node === undefined) return;
    if (gone) { // it had nothing to show
        const runs = memory[keyOf(node, workflow)] ?? [];
        memory[keyOf(node, workflow)] = runs.filter((one) => one.run !== run);
        save();
        return redraw(node);
    }
    const before = memory[keyOf(node, workflow)]?.find((one) => one.run === run) ?? { points: [] };
    if (start) { // of a run that goes on where an earlier piece of it ended, the end is not the end any more
        const { status, final, end_at, words, pictures, counted, ...unended } = before;
        return put(node, workflow, { ...unended, run, ...told });
    }
    if (end) return put(node, workflow, { ...before, run, ...told });
    if (!point) return;
    const points = before.points, at = points.findIndex(([step]) => step >= point[0]);
    if (at < 0) points.push(point);
    else points.splice(at, points[at][0] === point[0] ? 1 : 0, point);
    put(node, workflow, { ...before, run, ...told, points: thinned(points) });
}

function executed({ detail }) { // the report's result; sent again when everything is cached
    const told = detail?.output?.infusenet_drift ?? []; // the run that is reported first, then others of its execution
    for (const { probe, workflow, ...curve } of [...told].reverse()) {
        if (!curve.run) continue;
        const place = workflows.get(detail.prompt_id) ?? workflow; // a cached result may come from another workflow
        put(detail.display_node ?? detail.node, place, curve, true);
        if (probe) put(probe, place, curve, true);
    }
}

function remember() { // which workflow a prompt was made from, as the page queues it
    const queue = api.queuePrompt;
    api.queuePrompt = async function (...args) {
        const answer = await queue.apply(this, args), { id } = args[1]?.workflow ?? {};
        if (answer?.prompt_id && id) workflows.set(answer.prompt_id, id);
        return answer;
    };
}

app.registerExtension({
    name: "InfuseNet.Probe",
    setup() {
        api.addEventListener(EVENT, probed);
        api.addEventListener("executed", executed);
        remember();
        window.addEventListener("pagehide", write);
    },
    nodeCreated(node) {
        if (node.comfyClass === PROBE || node.comfyClass === REPORT) attach(node);
    },
    afterConfigureGraph() {
        for (const node of charts.keys()) refresh(node);
    },
});
