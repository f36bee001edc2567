// The live chart of Identity Probe, and the final one on Identity Drift Report. One file, no request of its own; all that
// is shown goes through textContent and attributes.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const KINDS = ["InfuseNet_IdentityProbe", "InfuseNet_DriftReport"];
const EVENT = "infusenet.probe";
const STORE = "infusenet.probe.runs";
const KEPT = 6; // the newest run and five faint ones
const W = 320, H = 170, LEFT = 34, RIGHT = 8, TOP = 10, BOTTOM = 26;
const SVG = "http://www.w3.org/2000/svg";
const charts = new Map(); // node object -> {element, draw}

const memory = (() => {
    try { return JSON.parse(sessionStorage.getItem(STORE)) ?? {}; } catch { return {}; }
})();
let saving = 0;
function save() { // survives a reload of the page; at most twice a second
    if (saving) return;
    saving = setTimeout(() => {
        saving = 0;
        try { sessionStorage.setItem(STORE, JSON.stringify(memory)); } catch { /* full: the chart lives on without */ }
    }, 500);
}

const root = () => app.rootGraph ?? app.graph;
const keyOf = (id) => `${root()?.id ?? ""}/${id}`;

function nodeAt(id) { // "12:7" is node 7 in the subgraph of node 12
    let graph = root(), node;
    for (const part of String(id).split(":")) {
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

function runsOf(id) { return (memory[keyOf(id)] ??= []); }

function put(id, run) { // a new run goes to the front, a known one is replaced
    const runs = runsOf(id), at = runs.findIndex((one) => one.run === run.run);
    if (at >= 0) runs[at] = run; else runs.unshift(run);
    runs.length = Math.min(runs.length, KEPT);
    save();
    redraw(id);
}

let waiting = new Set();
function redraw(id) { // once a frame, however many points come
    if (!waiting.size) requestAnimationFrame(() => {
        const ids = waiting;
        waiting = new Set();
        for (const one of ids) charts.get(nodeAt(one))?.draw();
    });
    waiting.add(id);
}

function make(name, attributes = {}, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
}

const defined = (values) => values.filter((value) => typeof value === "number");
const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
const show = (value, digits = 3) => (typeof value === "number" ? value.toFixed(digits) : "none");

function seriesOf(run) { // [{step, sigma, mean, low, high, sure}]
    return (run.points ?? []).map(([step, sigma, items, sure]) => {
        const values = defined(items);
        return { step, sigma, sure, mean: mean(values), low: Math.min(...values), high: Math.max(...values) };
    });
}

function line(series, x, y, value = (point) => point.mean) { // undefined breaks the line
    let path = "", pen = "M";
    for (const point of series) {
        if (value(point) === null) { pen = "M"; continue; }
        path += `${pen}${x(point).toFixed(1)} ${y(value(point)).toFixed(1)}`;
        pen = "L";
    }
    return path;
}

function draw(svg, words, runs) {
    svg.replaceChildren();
    words.textContent = "";
    const all = runs.map((run) => ({ run, series: seriesOf(run) })), now = all[0];
    const ink = "var(--input-text, #ddd)", quiet = "var(--descrip-text, #999)", grid = "var(--border-color, #4e4e4e)";
    const colour = "var(--p-primary-color, #56b4e9)";
    const label = (text, x, y, more) => svg.append(make("text", { x, y, fill: quiet, "font-size": 10, ...more }, text));
    if (!now) {
        label("The curve appears here when the sampler runs.", W / 2, H / 2, { "text-anchor": "middle" });
        return;
    }
    const bySigma = now.series.every((point) => typeof point.sigma === "number");
    const values = all.flatMap(({ series }) => series.flatMap((p) => defined([p.mean, p.mean === null ? null : p.low,
        p.mean === null ? null : p.high])));
    if (typeof now.run.baseline === "number") values.push(now.run.baseline);
    if (typeof now.run.final === "number") values.push(now.run.final);
    const low = Math.min(0, ...values), high = Math.max(0.2, ...values), span = (high - low) * 1.12;
    const top = Math.max(1e-6, ...all.flatMap(({ series }) => defined(series.map((point) => point.sigma))));
    const steps = Math.max(1, ...all.map(({ run, series }) => Math.max(run.steps ?? 0, series.at(-1)?.step ?? 0)));
    const x = (point) => {
        const share = bySigma ? 1 - (point.sigma ?? 0) / top : point.step / steps;
        return LEFT + share * (W - LEFT - RIGHT);
    };
    const y = (value) => H - BOTTOM - ((value - low) / span) * (H - TOP - BOTTOM);
    const tick = [0.05, 0.1, 0.2, 0.5, 1].find((size) => span / size <= 5) ?? 1;
    for (let value = Math.ceil(low / tick) * tick; value <= high + 1e-9; value += tick) {
        svg.append(make("line", { x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value), stroke: grid, "stroke-width": 0.7 }));
        label(value.toFixed(tick < 0.1 ? 2 : 1), LEFT - 4, y(value) + 3, { "text-anchor": "end" });
    }
    label(bySigma ? `σ ${show(top, 2)}` : "step 0", LEFT, H - BOTTOM + 12);
    label(bySigma ? "0" : String(steps), W - RIGHT, H - BOTTOM + 12, { "text-anchor": "end" });
    label(bySigma ? "noise level" : "steps completed", (LEFT + W) / 2, H - BOTTOM + 12, { "text-anchor": "middle" });
    const offset = now.run.offset ? `, ${now.run.offset} before it` : "";
    label(`${now.series.at(-1)?.step ?? 0} of ${now.run.steps ?? "?"} steps${offset}`, LEFT, H - 3);
    for (const { series } of all.slice(1).reverse()) {
        svg.append(make("path", { d: line(series, x, y), fill: "none", stroke: quiet, "stroke-width": 1, opacity: 0.4 }));
    }
    if (typeof now.run.baseline === "number") {
        const at = y(now.run.baseline);
        svg.append(make("line", { x1: LEFT, x2: W - RIGHT, y1: at, y2: at, stroke: quiet, "stroke-dasharray": "4 3" }));
        label("other people", W - RIGHT, at - 3, { "text-anchor": "end" });
    }
    const measured = now.series.filter((point) => point.mean !== null);
    if (measured.some((point) => point.high > point.low)) {
        const edge = [...measured.map((p) => `${x(p)} ${y(p.high)}`), ...measured.map((p) => `${x(p)} ${y(p.low)}`).reverse()];
        svg.append(make("polygon", { points: edge.join(" "), fill: colour, opacity: 0.2 }));
    }
    svg.append(make("path", { d: line(now.series, x, y), fill: "none", stroke: colour, "stroke-width": 1.8 }));
    const dots = measured.length <= 80;
    for (const point of measured) {
        const dot = make("circle", { cx: x(point), cy: y(point.mean), r: dots ? 3 : 4, stroke: colour,
            fill: point.sure ? colour : "transparent", opacity: dots ? 1 : 0 });
        const how = point.sure ? "" : "\nface not detected here";
        dot.append(make("title", {}, `step ${point.step}\nsigma ${show(point.sigma)}\nsimilarity ${show(point.mean)}${how}`));
        svg.append(dot);
    }
    if (typeof now.run.final === "number") {
        const cx = W - RIGHT - 2, cy = y(now.run.final);
        const diamond = make("path", { d: `M${cx - 4} ${cy}L${cx} ${cy - 4}L${cx + 4} ${cy}L${cx} ${cy + 4}Z`, fill: colour });
        diamond.append(make("title", {}, `finished picture\nsimilarity ${show(now.run.final)}`));
        svg.append(diamond);
    }
    const best = measured.reduce((a, b) => (a && a.mean >= b.mean ? a : b), null);
    if (best) {
        svg.append(make("circle", { cx: x(best), cy: y(best.mean), r: 6, fill: "none", stroke: ink, "stroke-width": 1.2 }));
        label(`peak ${show(best.mean, 2)}, step ${best.step}`, W - RIGHT, H - 3, { "text-anchor": "end", fill: ink });
    }
    words.textContent = now.run.words ?? "";
}

function attach(node) {
    const box = document.createElement("div");
    Object.assign(box.style, { width: "100%", height: "100%", minHeight: "180px", overflow: "hidden", display: "flex",
        flexDirection: "column", background: "var(--comfy-input-bg, #222)", borderRadius: "4px" });
    const svg = make("svg", { viewBox: `0 0 ${W} ${H}`, role: "img" });
    Object.assign(svg.style, { flex: "1 1 0", minHeight: "0", width: "100%" });
    const words = document.createElement("div");
    Object.assign(words.style, { whiteSpace: "pre-wrap", font: "11px sans-serif", padding: "0 6px 4px", overflow: "auto",
        color: "var(--input-text, #ddd)", flex: "0 1 auto", maxHeight: "50%" });
    box.append(svg);
    const report = node.comfyClass === KINDS[1];
    if (report) box.append(words);
    const widget = node.addDOMWidget("infusenet_chart", "infusenet_chart", box, {
        serialize: false, hideOnZoom: false, getMinHeight: () => (report ? 320 : 190), getValue: () => "", setValue: () => {},
    });
    widget.serialize = false; // not in the workflow's widget values either
    const redrawn = () => {
        const runs = idsOf(node).flatMap((id) => memory[keyOf(id)] ?? []);
        draw(svg, words, runs.slice(0, KEPT));
    };
    charts.set(node, { draw: redrawn });
    const removed = node.onRemoved;
    node.onRemoved = function (...args) { charts.delete(node); return removed?.apply(this, args); };
    setTimeout(redrawn, 0); // its id is known only after it has joined the graph
}

function probed({ detail }) {
    const { node, run, start, end, point } = detail ?? {};
    if (node === undefined) return;
    const before = runsOf(node).find((one) => one.run === run);
    if (start) put(node, { ...detail, points: [] });
    else if (end) put(node, { ...before, ...detail });
    else if (point && before) {
        const at = before.points.findIndex(([step]) => step >= point[0]);
        if (at < 0) before.points.push(point);
        else before.points.splice(at, before.points[at][0] === point[0] ? 1 : 0, point);
        put(node, before);
    }
}

function executed({ detail }) { // the report's result; sent again when everything is cached
    const curve = detail?.output?.infusenet_drift?.[0];
    if (curve) put(detail.node, curve);
}

app.registerExtension({
    name: "InfuseNet.Probe",
    setup() {
        api.addEventListener(EVENT, probed);
        api.addEventListener("executed", executed);
    },
    nodeCreated(node) {
        if (KINDS.includes(node.comfyClass)) attach(node);
    },
    afterConfigureGraph() {
        for (const { draw } of charts.values()) draw();
    },
});
