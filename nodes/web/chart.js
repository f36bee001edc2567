// Draws runs as curves: similarity by noise level, at the size there is. Knows nothing of ComfyUI but its theme's colours;
// all text goes through textContent.
import { barOf, bestOf, endOf, grouped, itemsOf, line, linesOf, number, same, scales, shown } from "./curves.js";
import { ALERT, drawAxes, drawCurve, drawItems, drawLines, drawPicked, entry, GRID, html, huesOn, INK, make, MENU, PAPER, QUIET,
    show } from "./draw.js";
import { csvOf, download, menuButton, pngOf } from "./menu.js";
import { DASHES } from "./palette.js";

const ADVICE = { margin: "5px 0 3px", padding: "0 0 0 7px" };
const ENDINGS = { interrupted: "interrupted", failed: "failed", "stopped at peak": "stopped" };

// What is said of the axis, of a step without a value, and where there is no curve; runs kept from before are of faces.
const LABELS = { axis: "similarity", unseen: "no face seen", nothing: "No face was found, so there is no curve." };
const labelsOf = (run) => run?.labels ?? LABELS;

// Where the curve is above the lines, the lines' names, and what a hollow point is; `ink` is the lines' colour.
function legendOf(curve, hue, each, ink = QUIET) {
    const { run, series } = curve, above = aboveOf(curve), best = each ? itemsOf(run).find((item) => item.best) : null;
    const whose = ink === QUIET ? "" : `${run.title}: `, entries = above ? [entry(whose + above, null, INK)] : [];
    if (best) entries.push(entry(`thick: picture ${best.item + 1}, the best`, make("line", { x1: 0, x2: 18, y1: 4, y2: 4, stroke: hue, "stroke-width": 2.2 })));
    for (const first of entries) first.style.flexBasis = "100%"; // a line of its own
    for (const { kind, name, level } of linesOf(run)) {
        const dashes = { x1: 0, x2: 18, y1: 4, y2: 4, stroke: ink, "stroke-width": 1.3, "stroke-dasharray": DASHES[kind] ?? "2 2" };
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
    return run.offset ? `${one}, after ${run.offset} earlier ones` : one;
}

function peakOf(curve) {
    const best = bestOf(curve);
    if (!best) return curve.run.status !== undefined && curve.series.length ? labelsOf(curve.run).unseen : "";
    return `peak ${show(best.mean, 2)}, ${best.finished ? "finished picture" : `step ${best.step}`}`;
}

const finishedOf = ({ run }) => (number(run.final) ? `finished ${show(run.final, 2)}` : "");

function message(runs) { // instead of a curve
    if (!runs.length) return "The curve appears here during a run.";
    if (runs[0].status === undefined) return "Sampling. Nothing has been measured yet.";
    return runs[0].points?.length ? labelsOf(runs[0]).nothing : "The run ended before anything was measured.";
}

function told(point, sampler, unseen) { // on hover
    const whole = point.finished ? "finished picture" : `step ${point.step}`;
    const place = point.item === undefined ? whole : `picture ${point.item + 1}, ${whole}`;
    const lines = [`${place}, σ ${show(point.sigma)}`, `similarity ${show(shown(point))}`];
    if (point.count > 1 && point.low < point.high) lines.push(`${show(point.low)} to ${show(point.high)} in ${point.count} pictures`);
    if (sampler) lines.unshift(sampler);
    if (point.mean === null) lines.push(`${unseen} in this step`);
    return lines.join("\n");
}

// A chart in an element of its own: `element`, and `show(runs, named, picked)`, where runs are the newest first, `named`
// gives a sampler's title, or undefined where it is gone, and `picked` is the step that is handed on, 0 for the best one.
// What it asks of the page: `clear()` forgets the earlier runs, `pick(point)` hands a step on, `use(run, advice)` follows
// advice, `seen(run, point, whole)` is the address of what a step shows; the middle two answer with a sentence.
export class Chart {
    constructor(withWords, asked) {
        this.asked = asked;
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
        head.append(this.left, this.peak, menuButton(() => this.entries(), { ink: INK, paper: MENU, line: GRID }));
        this.plot = html({ position: "relative", flex: "1 1 0", minHeight: "110px", overflow: "hidden" });
        this.svg = make("svg", { role: "img", width: "100%", height: "100%" });
        this.svg.style.display = "block";
        this.tip = html({ position: "fixed", pointerEvents: "none", padding: "4px 8px", color: INK, background: MENU,
            border: `1px solid ${GRID}`, borderRadius: "4px", zIndex: 10000, font: "11px/1.45 Inter, Arial, sans-serif" });
        this.tip.className = "infusenet-tip";
        this.tipText = html({ whiteSpace: "pre" });
        this.face = Object.assign(document.createElement("img"), { alt: "" });
        Object.assign(this.face.style, { display: "none", margin: "3px 0 2px", borderRadius: "3px", maxWidth: "560px" });
        this.face.addEventListener("load", () => { this.face.style.display = "block"; this.place(); });
        this.face.addEventListener("error", () => { this.face.style.display = "none"; });
        this.tip.append(this.tipText, this.face);
        this.plot.append(this.svg);
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
        this.plot.addEventListener("pointermove", (event) => this.hover(this.at = event));
        this.plot.addEventListener("pointerleave", () => this.hover(this.at = undefined));
        this.plot.addEventListener("click", () => this.near && this.say(this.asked.pick(this.near.point)));
    }

    show(runs, named, picked = 0) {
        [this.runs, this.named, this.picked] = [runs, named, picked];
        this.draw();
    }

    say(sentence) { // below the chart, until it is drawn anew by a run
        if (!sentence) return;
        [this.state.textContent, this.state.title] = [sentence, sentence];
        this.state.style.color = INK;
    }

    turn(name) { // a way of showing on or off
        this[name] = !this[name];
        this.draw();
    }

    entries() { // of the menu
        const drawn = this.runs.length > 0 && this.svg.querySelector("path.now") !== null;
        const texts = [[this.left, this.peak], [this.state, this.finished], [this.names], [this.legend]];
        const said = texts.map((parts) => parts.flatMap((part) => (part.children.length ? [...part.children] : [part]))
            .map(({ textContent }) => textContent.trim()).filter(Boolean));
        const file = async () => download(await pngOf({ element: this.element, svg: this.svg, texts: said }), "likeness.png");
        const table = () => download(new Blob([csvOf(this.runs, this.named)], { type: "text/csv" }), "likeness.csv");
        const earlier = this.runs.some((run, place) => this.runs.findIndex((other) => same(run, other)) < place);
        const batch = this.runs.some((run) => itemsOf(run).length > 1);
        return [["Save chart (PNG)", file, drawn], ["Save figures (CSV)", table, this.runs.length > 0],
            [this.each ? "Draw the mean of the batch" : "Draw each picture", () => this.turn("each"), batch],
            [this.whole ? "Show faces at the pointer" : "Show whole pictures at the pointer", () => this.turn("whole"), drawn],
            ["Clear earlier runs", this.asked.clear, earlier]];
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
        drawLines(this.svg, curves[0].run, scale, curves[0].run.pair ? groups[0].hue : undefined);
        const other = groups.find(({ curves: [{ run }] }) => run.by !== curves[0].run.by);
        if (other) drawLines(this.svg, other.curves[0].run, scale, other.hue);
        drawAxes(this.svg, scale, widest[0]);
        for (const { curves: [, ...earlier], hue } of groups) {
            for (const { series } of earlier.reverse()) {
                this.svg.append(make("path", { d: line(series, scale), fill: "none", stroke: groups.length > 1 ? hue : QUIET,
                    opacity: 0.45, class: "earlier" }));
            }
        }
        const points = (now) => (this.each ? itemsOf(now.run).flatMap(({ series }) => series) : [...now.series, endOf(now)]);
        this.marks = groups.flatMap(({ name, curves: [now] }) => points(now)
            .filter((point) => point && shown(point) !== null)
            .map((point) => ({ point, run: now.run, name: groups.length > 1 ? name : "", x: scale.x(point), y: scale.y(shown(point)) })));
        for (const { curves: [now], hue } of [...groups].reverse()) {
            if (this.each && itemsOf(now.run).length > 1) drawItems(this.svg, now.run, scale, hue);
            else drawCurve(this.svg, now, scale, hue);
        }
        const picked = curves[0].series.find(({ step }) => step === this.picked);
        if (picked) drawPicked(this.svg, picked, scale);
        this.cross = make("g", { visibility: "hidden" });
        this.svg.append(this.cross);
        this.hover(this.at);
    }

    label(groups) { // everything that is said around the curve
        const advice = { ...ADVICE, borderLeft: `2px solid ${this.hues[0]}` };
        const now = groups[0]?.curves[0], several = (now?.series[0]?.count ?? 0) > 1;
        const { axis } = labelsOf(now?.run);
        this.left.textContent = several ? `${axis}, mean of ${now.series[0].count}` : axis;
        const alone = groups.length < 2;
        this.peak.textContent = alone && now ? peakOf(now) : "";
        [this.state.textContent, this.state.title] = [now ? state(now) : "", ""];
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
        const networks = groups.filter(({ curves: [{ run }] }, place) =>
            groups.findIndex((one) => one.curves[0].run.by === run.by) === place);
        this.legend.replaceChildren(...networks.flatMap(({ hue, curves: [curve] }) =>
            legendOf(curve, hue, this.each, networks.length > 1 ? hue : undefined)));
        this.svg.setAttribute("aria-label", [this.left, this.peak, this.state, this.legend].map((one) => one.textContent).join("; "));
        this.words?.replaceChildren(...(now?.run.words ?? "").replaceAll(" %", "\u00a0%").split("\n").filter(Boolean)
            .map((text) => (text.startsWith("Try next:") ? this.advice(text, now.run, advice) : html({ margin: "0 0 2px" }, text))));
        if (this.words) this.words.style.display = now?.run.words ? "" : "none";
    }

    advice(text, run, style) { // with a button that follows it, where the page knows what it sets
        const row = html(style, text), plain = (words) => words.replaceAll("\u00a0", " ");
        const known = (run.advice ?? []).find(({ words }) => plain(words) === plain(text));
        if (!known) return row;
        const button = document.createElement("button");
        Object.assign(button, { textContent: "Use this", title: "Applies it to the workflow. Undo with Ctrl+Z." });
        Object.assign(button.style, { marginLeft: "6px", padding: "0 7px", font: "inherit", color: INK, background: MENU,
            border: `1px solid ${GRID}`, borderRadius: "4px", cursor: "pointer" });
        button.addEventListener("click", (event) => {
            event.stopPropagation();
            this.say(this.asked.use(known.changes));
        });
        row.append(button);
        return row;
    }

    hover(event) { // the nearest point's figures and faces, beside the pointer
        this.tip.remove();
        this.near = null;
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
        [this.near, this.pointer] = [near, { x: event.clientX, y: event.clientY }];
        this.tipText.textContent = told(near.point, near.name, labelsOf(this.runs[0]).unseen);
        const address = this.asked.seen(near.run, near.point, this.whole);
        if (this.face.getAttribute("src") !== address) {
            this.face.style.display = "none";
            this.face.src = address;
        }
        document.body.append(this.tip); // above everything, at the page's own scale
        this.place();
    }

    place() { // beside the pointer, inside the window
        if (!this.near) return;
        const { x, y } = this.pointer, { offsetWidth: width, offsetHeight: height } = this.tip;
        const left = x + 16 + width > innerWidth ? x - 16 - width : x + 16;
        this.tip.style.left = `${Math.max(2, left)}px`;
        this.tip.style.top = `${Math.max(2, Math.min(y + 12, innerHeight - height - 4))}px`;
    }
}
