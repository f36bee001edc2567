// Draws runs as curves: similarity by noise level, at the size there is. Knows nothing of ComfyUI but its theme's colours;
// all text goes through textContent.
import { barOf, bands, bestOf, endOf, grouped, line, linesOf, number, scales, shown } from "./curves.js";
import { csvOf, download, menuButton, pngOf } from "./menu.js";
import { DASHES, THEMES } from "./palette.js";

const SVG = "http://www.w3.org/2000/svg";
const { dark } = THEMES; // where the host's theme does not say
const INK = `var(--input-text, ${dark.ink})`, QUIET = `var(--descrip-text, ${dark.quiet})`;
const GRID = `var(--border-color, ${dark.grid})`, PAPER = `var(--comfy-input-bg, ${dark.paper})`;
const MENU = `var(--comfy-menu-bg, ${dark.card})`, ALERT = `var(--error-text, ${dark["curve-2"]})`;
const DOTS = 80; // points of a curve beyond which they are not marked one by one
const ADVICE = { margin: "5px 0 3px", padding: "0 0 0 7px" };
const ENDINGS = { interrupted: "interrupted", failed: "failed", "stopped at peak": "stopped" };

// What is said of the axis, of a step without a value, and where there is no curve; runs kept from before are of faces.
const LABELS = { axis: "similarity", unseen: "no face seen", nothing: "No face was found, so there is no curve." };
const labelsOf = (run) => run?.labels ?? LABELS;

const show = (value, digits = 3) => (number(value) ? value.toFixed(digits) : "unknown");

const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
    .getContext("2d", { willReadFrequently: true });
function huesOn(colour) { // the palette's curves for this ground, one a sampler
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [red, green, blue] = brush.getImageData(0, 0, 1, 1).data;
    const theme = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 127 ? THEMES.light : dark;
    return Object.keys(theme).filter((name) => name.startsWith("curve-")).map((name) => theme[name]);
}

function make(name, attributes = {}, text) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
}

function html(style, text) {
    const element = document.createElement("div");
    Object.assign(element.style, style);
    if (text !== undefined) element.textContent = text;
    return element;
}

function drawAxes(svg, scale, longest) {
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

function drawCurve(svg, curve, scale, hue) {
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

function drawLines(svg, run, scale) { // and in grey what is not above them
    const { left, right, ceiling, floor, y } = scale, bar = barOf(run);
    if (bar) {
        const top = Math.max(ceiling, y(bar.value));
        svg.append(make("rect", { x: left, y: top, width: right - left, height: Math.max(0, floor - top), fill: QUIET,
            opacity: 0.12, class: "below" }));
    }
    for (const { kind, level } of linesOf(run)) {
        if (!number(level)) continue;
        svg.append(make("line", { x1: left, x2: right, y1: y(level), y2: y(level), stroke: QUIET, "stroke-width": 1.3,
            "stroke-dasharray": DASHES[kind] ?? "2 2", class: `baseline ${kind}` }));
    }
}

function sample(mark) { // of a line or a point, for the legend
    const svg = make("svg", { width: 18, height: 8, viewBox: "0 0 18 8" });
    Object.assign(svg.style, { flex: "none" });
    svg.append(mark);
    return svg;
}

function entry(text, mark, colour = QUIET) {
    const row = html({ display: "flex", alignItems: "center", gap: "5px", whiteSpace: "nowrap", color: colour });
    if (mark) row.append(sample(mark));
    row.append(html({}, text));
    return row;
}

function legendOf(curve, hue) { // where the curve is above the lines, the lines' names, and what a hollow point is
    const { run, series } = curve, above = aboveOf(curve);
    const entries = above ? [entry(above, null, INK)] : [];
    for (const first of entries) first.style.flexBasis = "100%"; // a line of its own
    for (const { kind, name, level } of linesOf(run)) {
        const dashes = { x1: 0, x2: 18, y1: 4, y2: 4, stroke: QUIET, "stroke-width": 1.3, "stroke-dasharray": DASHES[kind] ?? "2 2" };
        const known = number(level);
        const value = known ? `${name} ${level.toFixed(kind === "published" ? 3 : 2)}` : `${name}: unknown`;
        entries.push(entry(value, known ? make("line", dashes) : null));
    }
    if (series.some((point) => number(point.faint))) {
        const ring = { cx: 9, cy: 4, r: 3, fill: "none", stroke: hue, "stroke-width": 1.2 };
        entries.push(entry(labelsOf(run).unseen, make("circle", ring)));
    }
    return entries;
}

function aboveOf({ run, series }) { // in words; nothing while it may still come
    const bar = barOf(run), end = endOf({ run, series });
    if (!bar || !series.some((point) => point.mean !== null)) return "";
    const first = [...series, end].find((point) => point && point.mean > bar.value);
    const line = linesOf(run).find(({ spread }) => number(spread)), alone = line.kind === "blank" ? "the blank line" : line.name;
    const lines = bar.lines > 1 ? "both lines" : alone;
    if (first) return `above ${lines} from step ${first.step}`;
    return run.status === undefined ? "" : `never above ${lines}`;
}

function state({ run, series }) { // how far it got, in words
    const step = series.at(-1)?.step ?? 0, total = run.steps ?? "?";
    const ending = ENDINGS[run.status];
    const far = ending ? `${ending} at step ${step} of ${total}` : `${step} of ${total} steps`;
    const one = run.runs > 1 ? `run ${run.number} of ${run.runs}: ${far}` : far; // of a node that samples several times
    return run.offset ? `${one}, after ${run.offset} before` : one;
}

function peakOf(curve) {
    const best = bestOf(curve);
    if (!best) return curve.run.status !== undefined && curve.series.length ? labelsOf(curve.run).unseen : "";
    return `peak ${show(best.mean, 2)}, ${best.finished ? "finished picture" : `step ${best.step}`}`;
}

const finishedOf = ({ run }) => (number(run.final) ? `finished ${show(run.final, 2)}` : "");

function message(runs) { // instead of a curve
    if (!runs.length) return "The curve appears here during a run.";
    if (runs[0].status === undefined) return "Sampling; nothing is measured yet.";
    return runs[0].points?.length ? labelsOf(runs[0]).nothing : "It ended before anything was measured.";
}

function told(point, sampler, unseen) { // on hover
    const place = point.finished ? "finished picture" : `step ${point.step}`;
    const lines = [`${place}, σ ${show(point.sigma)}`, `similarity ${show(shown(point))}`];
    if (point.count > 1 && point.low < point.high) lines.push(`${show(point.low)} to ${show(point.high)} in ${point.count} pictures`);
    if (sampler) lines.unshift(sampler);
    if (point.mean === null) lines.push(`${unseen} in this step`);
    return lines.join("\n");
}

// A chart in an element of its own: `element`, and `show(runs, named)`, where runs are the newest first and `named` gives
// a sampler's title, or undefined where it is gone. `clear` forgets the earlier ones.
export class Chart {
    constructor(withWords, clear) {
        const row = { display: "flex", justifyContent: "space-between", gap: "8px", padding: "0 10px", color: QUIET, flex: "none",
            whiteSpace: "nowrap" };
        const part = { overflow: "hidden", textOverflow: "ellipsis" };
        this.element = html({ width: "100%", height: "100%", minHeight: "220px", overflow: "hidden", display: "flex",
            flexDirection: "column", background: PAPER, borderRadius: "6px", font: "11px/1.45 Inter, Arial, sans-serif",
            padding: "6px 0", boxSizing: "border-box", transition: "background-color 1ms" });
        this.element.addEventListener("transitionend", ({ target }) => { // another theme has another ground
            if (target === this.element) this.draw();
        });
        this.left = html(part);
        this.peak = html({ flex: "1 0 auto", color: INK, textAlign: "right" });
        const head = html(row);
        head.append(this.left, this.peak, menuButton(() => this.entries(clear), { ink: INK, paper: MENU, line: GRID }));
        this.plot = html({ position: "relative", flex: "1 1 0", minHeight: "110px", overflow: "hidden" });
        this.svg = make("svg", { role: "img", width: "100%", height: "100%" });
        this.svg.style.display = "block";
        this.tip = html({ position: "absolute", display: "none", pointerEvents: "none", whiteSpace: "pre", padding: "3px 7px",
            color: INK, background: MENU, border: `1px solid ${GRID}`, borderRadius: "4px", zIndex: 1 });
        this.plot.append(this.svg, this.tip);
        this.state = html(part);
        this.finished = html({ flex: "none" });
        const foot = html(row);
        foot.append(this.state, this.finished);
        this.names = html({ padding: "0 10px", flex: "none" });
        this.legend = html({ display: "flex", flexWrap: "wrap", columnGap: "12px", padding: "0 10px", flex: "none" });
        this.element.append(head, this.plot, foot, this.names, this.legend);
        if (withWords) {
            this.words = html({ padding: "6px 10px 0", marginTop: "4px", overflow: "auto", color: INK, flex: "0 1 auto",
                scrollbarWidth: "thin", scrollbarColor: `${QUIET} transparent`, maxHeight: "52%",
                borderTop: `1px solid ${GRID}`, userSelect: "text" });
            this.element.append(this.words);
        }
        this.runs = [];
        this.named = () => undefined;
        new ResizeObserver(() => this.draw()).observe(this.plot);
        this.plot.addEventListener("pointermove", (event) => this.hover(event));
        this.plot.addEventListener("pointerleave", () => this.hover());
    }

    show(runs, named) {
        [this.runs, this.named] = [runs, named];
        this.draw();
    }

    entries(clear) { // of the menu
        const drawn = this.runs.length > 0 && this.svg.querySelector("path.now") !== null;
        const texts = [[this.left, this.peak], [this.state, this.finished], [this.names], [this.legend]];
        const said = texts.map((parts) => parts.flatMap((part) => (part.children.length ? [...part.children] : [part]))
            .map(({ textContent }) => textContent.trim()).filter(Boolean));
        const file = async () => download(await pngOf({ element: this.element, svg: this.svg, texts: said }), "likeness.png");
        const table = () => download(new Blob([csvOf(this.runs, this.named)], { type: "text/csv" }), "likeness.csv");
        return [["Save chart (PNG)", file, drawn], ["Save figures (CSV)", table, this.runs.length > 0],
            ["Clear earlier runs", clear, new Set(this.runs.map(({ sampler }) => sampler)).size < this.runs.length]];
    }

    draw() {
        const width = this.plot.clientWidth, height = this.plot.clientHeight;
        const ground = getComputedStyle(this.element).backgroundColor;
        if (ground !== this.ground) [this.ground, this.hues] = [ground, huesOn(ground)];
        const groups = grouped(this.runs, this.named, this.hues), curves = groups.flatMap((group) => group.curves);
        this.svg.replaceChildren();
        this.hover();
        this.label(groups);
        if (!width || !height) return;
        this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
        if (!curves.some(({ run, series }) => number(run.final) || series.some((point) => shown(point) !== null))) {
            const middle = { x: width / 2, y: height / 2, fill: QUIET, "font-size": 11, "text-anchor": "middle" };
            this.svg.append(make("text", middle, message(this.runs)));
            return;
        }
        const scale = this.scale = scales(curves, width, height);
        const start = ({ series }) => (series.length ? scale.x(series[0]) : Infinity);
        const widest = groups.map(({ curves: [now] }) => now).sort((a, b) => start(a) - start(b));
        drawLines(this.svg, curves[0].run, scale);
        drawAxes(this.svg, scale, widest[0]);
        for (const { curves: [, ...earlier], hue } of groups) {
            for (const { series } of earlier.reverse()) {
                this.svg.append(make("path", { d: line(series, scale), fill: "none", stroke: groups.length > 1 ? hue : QUIET,
                    opacity: 0.45, class: "earlier" }));
            }
        }
        this.marks = groups.flatMap(({ name, curves: [now] }) => [...now.series, endOf(now)]
            .filter((point) => point && shown(point) !== null)
            .map((point) => ({ point, name: groups.length > 1 ? name : "", x: scale.x(point), y: scale.y(shown(point)) })));
        for (const { curves: [now], hue } of [...groups].reverse()) drawCurve(this.svg, now, scale, hue);
        this.cross = make("g", { visibility: "hidden" });
        this.svg.append(this.cross);
    }

    label(groups) { // everything that is said around the curve
        const advice = { ...ADVICE, borderLeft: `2px solid ${this.hues[0]}` };
        const now = groups[0]?.curves[0], several = (now?.series[0]?.count ?? 0) > 1;
        const { axis } = labelsOf(now?.run);
        this.left.textContent = several ? `${axis}, mean of ${now.series[0].count}` : axis;
        const alone = groups.length < 2;
        this.peak.textContent = alone && now ? peakOf(now) : "";
        this.state.textContent = now ? state(now) : "";
        this.state.style.color = ["interrupted", "failed"].includes(now?.run.status) ? ALERT : "";
        this.finished.textContent = alone && now ? finishedOf(now) : "";
        this.names.replaceChildren();
        for (const { name, hue, curves: [curve] } of alone ? [] : groups) {
            const said = [peakOf(curve), finishedOf(curve)].filter(Boolean).join(", ");
            const row = html({ overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap", color: INK },
                ` ${name ?? "sampler"}: ${said}`);
            const swatch = document.createElement("span");
            Object.assign(swatch.style, { display: "inline-block", width: "14px", borderTop: `2px solid ${hue}`,
                verticalAlign: "middle" });
            row.prepend(swatch);
            this.names.append(row);
        }
        this.legend.replaceChildren(...(now ? legendOf(now, groups[0].hue) : []));
        this.svg.setAttribute("aria-label", [this.left, this.peak, this.state, this.legend].map((one) => one.textContent).join("; "));
        this.words?.replaceChildren(...(now?.run.words ?? "").replaceAll(" %", "\u00a0%").split("\n").filter(Boolean)
            .map((text) => html(text.startsWith("Try next:") ? advice : { margin: "0 0 2px" }, text)));
        if (this.words) this.words.style.display = now?.run.words ? "" : "none";
    }

    hover(event) { // the nearest point's figures, beside the pointer
        this.tip.style.display = "none";
        this.cross?.setAttribute("visibility", "hidden");
        if (!event || !this.marks?.length || !this.cross?.isConnected) return;
        const box = this.svg.getBoundingClientRect(), width = this.plot.clientWidth, height = this.plot.clientHeight;
        const at = { x: ((event.clientX - box.left) * width) / box.width, y: ((event.clientY - box.top) * height) / box.height };
        const far = (mark) => Math.abs(mark.x - at.x) + 0.2 * Math.abs(mark.y - at.y); // by noise level first
        const near = this.marks.reduce((best, mark) => (far(mark) < far(best) ? mark : best));
        this.cross.replaceChildren(
            make("line", { x1: near.x, x2: near.x, y1: this.scale.ceiling, y2: this.scale.floor, stroke: INK, opacity: 0.5 }),
            make("circle", { cx: near.x, cy: near.y, r: 4, fill: INK }));
        this.cross.setAttribute("visibility", "visible");
        this.tip.textContent = told(near.point, near.name, labelsOf(this.runs[0]).unseen);
        this.tip.style.display = "block";
        const beyond = near.x + 10 + this.tip.offsetWidth > width;
        this.tip.style.left = `${Math.max(2, beyond ? near.x - 10 - this.tip.offsetWidth : near.x + 10)}px`;
        this.tip.style.top = `${Math.max(2, Math.min(near.y - 46, height - this.tip.offsetHeight - 2))}px`;
    }
}
