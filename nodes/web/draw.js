// The parts of a chart: axes, curves, lines, a picture's own curve, the step that was picked, and the legend's samples.
import { bands, barOf, bestOf, endOf, itemsOf, line, linesOf, number, shown } from "./curves.js";
import { DASHES, THEMES } from "./palette.js";

const SVG = "http://www.w3.org/2000/svg";
const { dark } = THEMES; // where the host's theme does not say
export const INK = `var(--input-text, ${dark.ink})`, QUIET = `var(--descrip-text, ${dark.quiet})`;
export const GRID = `var(--border-color, ${dark.grid})`, PAPER = `var(--comfy-input-bg, ${dark.paper})`;
export const MENU = `var(--comfy-menu-bg, ${dark.card})`, ALERT = `var(--error-text, ${dark["curve-2"]})`;
const DOTS = 80; // points of a curve beyond which they are not marked one by one

export const show = (value, digits = 3) => (number(value) ? value.toFixed(digits) : "unknown");

const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
export function huesOn(colour) { // the palette's curves for this ground, one a sampler
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [red, green, blue] = brush.getImageData(0, 0, 1, 1).data;
    const theme = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 127 ? THEMES.light : dark;
    return Object.keys(theme).filter((name) => name.startsWith("curve-")).map((name) => theme[name]);
}

export function make(name, attributes = {}, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
}

export function html(style, text) {
    const element = document.createElement("div");
    Object.assign(element.style, style);
    if (text !== undefined) element.textContent = text;
    return element;
}

export function drawAxes(svg, scale, longest) {
    const label = (text, x, y, anchor = "middle") =>
        svg.append(make("text", { x, y, fill: QUIET, "font-size": 10, "text-anchor": anchor }, text));
    const { low, high, left, right, ceiling, floor, x, y } = scale;
    const tick = [0.05, 0.1, 0.2, 0.5, 1].find((size) => ((high - low) / size) * 18 <= floor - ceiling) ?? 1;
    for (let value = Math.ceil(low / tick) * tick; value <= high + 1e-9; value += tick) {
        const zero = Math.abs(value) < 1e-9;
        svg.append(make("line", { x1: left, x2: right, y1: y(value), y2: y(value), stroke: GRID,
            "stroke-width": zero ? 1.2 : 0.6 }));
        label(zero ? "0" : value.toFixed(tick < 0.1 ? 2 : 1), left - 5, y(value) + 3.5, "end");
    }
    label("step", left - 5, floor + 14, "end");
    const total = longest.run.steps ?? longest.series.length, wide = (point) => 8 + 6 * String(point.step).length;
    const nice = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((size) => (24 * total) / size <= right - left) ?? 1000;
    let last = -Infinity;
    for (const point of longest.series) {
        if ((point.step !== 1 && point.step % nice) || x(point) - last < wide(point)) continue;
        label(String(point.step), x(point), floor + 14);
        last = x(point);
    }
    if (!scale.bySigma) return;
    label("σ", left - 5, floor + 26, "end");
    label(show(scale.top, 2), left, floor + 26, "start");
    label("noise level", (left + right) / 2, floor + 26);
    label("0", right, floor + 26, "end");
}

export function drawCurve(svg, curve, scale, hue) {
    const { run, series } = curve, { x, y } = scale, end = endOf(curve);
    const measured = series.filter((point) => point.mean !== null), drawn = series.filter((point) => shown(point) !== null);
    if (measured.some((point) => point.high > point.low)) {
        for (const points of bands(series, scale)) svg.append(make("polygon", { points, fill: hue, opacity: 0.22 }));
    }
    const stroke = { fill: "none", stroke: hue, "stroke-linejoin": "round" };
    if (end && number(series.at(-1)?.mean)) {
        const d = line([series.at(-1), end], scale);
        svg.append(make("path", { ...stroke, d, "stroke-dasharray": "3 3", opacity: 0.8 }));
    }
    svg.append(make("path", { ...stroke, d: line(series, scale), "stroke-width": 1.8, class: "now" }));
    if (drawn.length <= DOTS) {
        const r = drawn.length > 20 ? 2 : 3;
        for (const point of drawn) {
            const seen = point.mean !== null;
            svg.append(make("circle", { cx: x(point), cy: y(shown(point)), r, stroke: hue, "stroke-width": 1.2,
                fill: seen ? hue : PAPER, class: seen ? "point" : "point unseen" }));
        }
    }
    if (end) {
        const cx = x(end), cy = y(end.mean);
        svg.append(make("path", { d: `M${cx - 5} ${cy}L${cx} ${cy - 5}L${cx + 5} ${cy}L${cx} ${cy + 5}Z`, fill: hue,
            stroke: PAPER, class: "finished" }));
    }
    const best = bestOf({ run, series });
    if (best) {
        svg.append(make("circle", { cx: x(best), cy: y(best.mean), r: 7, fill: "none", stroke: INK, "stroke-width": 1.3,
            class: "peak" }));
    }
}

export function drawItems(svg, run, scale, hue) { // each picture's own curve; the best one in full
    for (const { series, best } of itemsOf(run).sort((a, b) => a.best - b.best)) {
        svg.append(make("path", { d: line(series, scale), fill: "none", stroke: hue, "stroke-linejoin": "round",
            "stroke-width": best ? 2.2 : 1, opacity: best ? 1 : 0.5, class: best ? "item best" : "item" }));
    }
}

export function drawPicked(svg, point, scale) { // the step that the report hands on
    const x = scale.x(point), { floor } = scale;
    svg.append(make("line", { x1: x, x2: x, y1: scale.ceiling, y2: floor, stroke: INK, "stroke-dasharray": "2 3", opacity: 0.7 }));
    svg.append(make("path", { d: `M${x - 4} ${floor + 5}L${x + 4} ${floor + 5}L${x} ${floor}Z`, fill: INK, class: "picked" }));
}

// The lines of a run's network, and in grey what is not above them.
export function drawLines(svg, run, scale, hue = QUIET) {
    const { left, right, ceiling, floor, y } = scale, bar = barOf(run);
    if (bar && hue === QUIET) {
        const top = Math.max(ceiling, y(bar.value));
        svg.append(make("rect", { x: left, y: top, width: right - left, height: Math.max(0, floor - top), fill: QUIET,
            opacity: 0.12, class: "below" }));
    }
    for (const { kind, level } of linesOf(run)) {
        if (!number(level)) continue;
        svg.append(make("line", { x1: left, x2: right, y1: y(level), y2: y(level), stroke: hue, "stroke-width": 1.3,
            "stroke-dasharray": DASHES[kind] ?? "2 2", class: `baseline ${kind}` }));
    }
}

function sample(mark) { // of a line or a point, for the legend
    const svg = make("svg", { width: 18, height: 8, viewBox: "0 0 18 8" });
    Object.assign(svg.style, { flex: "none" });
    svg.append(mark);
    return svg;
}

export function entry(text, mark, colour = QUIET) {
    const row = html({ display: "flex", alignItems: "center", gap: "5px", whiteSpace: "nowrap", color: colour });
    if (mark) row.append(sample(mark));
    row.append(html({}, text));
    return row;
}

