// What a click on a chart changes in the workflow: one step back (Ctrl+Z) undoes it.
import { app } from "../../scripts/app.js";

function linked(node, slot) { // the node that an input comes from, through reroutes and out of subgraphs' own links
    const graph = node.graph ?? app.graph, link = graph.getLink?.(node.inputs[slot].link) ?? graph.links?.[node.inputs[slot].link];
    return link ? graph.getNodeById(link.origin_id) : null;
}

export function upstream(node) { // the nearest first
    const found = [node];
    for (let place = 0; place < found.length; place++) {
        for (const [slot, input] of (found[place].inputs ?? []).entries()) {
            const before = input.link === null || input.link === undefined ? null : linked(found[place], slot);
            if (before && !found.includes(before)) found.push(before);
        }
    }
    return found;
}

function downstream(node) { // the nodes that its outputs go to, through reroutes
    const graph = node.graph ?? app.graph;
    const links = (node.outputs ?? []).flatMap((output) => output.links ?? []);
    return links.map((id) => graph.getLink?.(id) ?? graph.links?.[id]).filter(Boolean)
        .map(({ target_id }) => graph.getNodeById(target_id))
        .flatMap((one) => (one?.type === "Reroute" ? downstream(one) : [one]));
}

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name);
const isLinked = (node, name) => (node.inputs ?? []).some((input) => (input.widget?.name ?? input.name) === name && input.link != null);

function change(act) { // one entry of the workflow's history
    const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
    const note = () => (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
    note(); // what was typed just before is an entry of its own
    act();
    app.canvas?.setDirty?.(true, true);
    note();
}

function set(node, name, value) {
    const widget = widgetOf(node, name);
    widget.value = value;
    widget.callback?.(value, app.canvas, node);
}

// Sets widgets, [kinds of node, name (or several, "seed|noise_seed"), value], on the nearest node that has them; says what it
// did, or why it could not.
export function use(from, changes) {
    const near = upstream(from), others = (from.graph ?? app.graph).nodes.filter((node) => !near.includes(node));
    const found = changes.flatMap(([kinds, names, value]) => {
        const nameOn = (node) => names.split("|").find((name) => widgetOf(node, name));
        const fits = (node) => (kinds.length ? kinds.includes(node.type) : node !== from) && nameOn(node) && node.mode === 0;
        const known = kinds.length ? near.filter(fits) : [near.find(fits)].filter(Boolean); // of two people both
        const nodes = known.length ? known : [others.find(fits)];
        return nodes.map((node) => ({ kinds, name: node ? nameOn(node) : names.split("|")[0], value, node }));
    });
    const missing = found.find(({ node }) => !node), taken = found.find(({ node, name }) => node && isLinked(node, name));
    if (missing) {
        const titles = missing.kinds.map((kind) => globalThis.LiteGraph.registered_node_types[kind]?.title ?? kind);
        return titles.length ? `This workflow has no ${titles[0]} to set. Add one first.` : `No node here has ${missing.name} to set.`;
    }
    if (taken) return `${taken.name} of ${taken.node.title} comes from another node. Set it there: ${taken.value}.`;
    change(() => found.forEach(({ node, name, value }) => set(node, name, value)));
    return `Set ${found.map(({ node, name, value }) => `${name} to ${value} in ${node.title}`).join(", ")}. Queue to try it.`;
}

// Hands a step on: sets `step` of a report, or of the reports that a probe's trace goes to; the same step again is 0.
export function pick(node, report, step) {
    const reports = node.type === report ? [node] : downstream(node).filter((one) => one?.type === report);
    if (!reports.length) return "Connect trace to an Identity Drift Report to pick a step.";
    const free = reports.filter((one) => widgetOf(one, "step") && !isLinked(one, "step"));
    if (!free.length) return "The report's step comes from another node. Set it there.";
    const value = pickedBy(free[0]) === step ? 0 : step;
    change(() => free.forEach((one) => set(one, "step", value)));
    return value ? `The report will return step ${value}. Queue to get it.` : "The report will return the best step.";
}

export function picked(node, report) { // the step that is handed on, 0 for the best one
    return pickedBy(node.type === report ? node : downstream(node).find((one) => one?.type === report));
}

const pickedBy = (report) => Number((report && widgetOf(report, "step")?.value) ?? 0);
