// A chart's menu: save it as a picture or as a table, and clear earlier runs. Files go where the browser keeps downloads.
import { number } from "./curves.js";

const SVG = "http://www.w3.org/2000/svg";
const SCALE = 2; // pixels of a saved picture for each of the page's
const LINE = 17;

// One row for each run, step and picture of its batch; undefined values are empty.
export function csvOf(runs, named) {
    const cell = (value) => {
        const text = value === null || value === undefined ? "" : String(value);
        const number = /^-?\d*\.?\d+(e[-+]?\d+)?$/i.test(text);
        const plain = !number && /^[-=+@\t\r]/.test(text) ? `'${text}` : text; // no formula in a spreadsheet
        return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
    };
    const rows = [["run", "sampler", "step", "sigma", "picture", "similarity", "seen", "measured by"]];
    runs.forEach((run, place) => {
        const name = named(run.sampler) ?? run.sampler, told = [run.number ?? place + 1, name];
        const seen = ([, , items, which]) => (Array.isArray(which) ? which : which ? [...items.keys()] : []);
        for (const point of run.points ?? []) {
            const [step, sigma, items] = point;
            items.forEach((value, item) =>
                rows.push([...told, step, sigma, item + 1, value, seen(point).includes(item), run.by]));
        }
        for (const one of run.pictures ?? []) {
            if (number(one.final)) rows.push([...told, "finished", run.end_at?.[1], one.picture, one.final, true, run.by]);
        }
    });
    return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function wrapped(parts, width, font) { // parts of a text, as many a line as fit
    const context = document.createElement("canvas").getContext("2d"), lines = [];
    context.font = font;
    for (const part of parts) {
        const longer = lines.length ? `${lines.at(-1)} · ${part}` : part;
        if (lines.length && context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
        else lines.push(part);
    }
    return lines;
}

// The chart as it looks, with what is said around it (`texts`, each of some parts), as a PNG.
export async function pngOf({ element, svg, texts }) {
    const { clientWidth: width, clientHeight: height } = svg.parentElement, ink = getComputedStyle(element);
    const [head, ...rest] = texts.map((parts) => wrapped(parts, width - 20, `11px ${ink.fontFamily}`));
    const lines = [head.join(" · "), ...rest.flat()], whole = height + LINE * (lines.length + 0.5);
    const picture = document.createElementNS(SVG, "svg"), put = (name, attributes, text) => {
        const made = document.createElementNS(SVG, name);
        for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
        if (text !== undefined) made.textContent = text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f]/g, ""); // no XML
        picture.append(made);
        return made;
    };
    for (const [key, value] of Object.entries({ width, height: whole, xmlns: SVG })) picture.setAttribute(key, value);
    put("rect", { width, height: whole, fill: ink.backgroundColor });
    const copy = svg.cloneNode(true);
    const drawn = [...svg.querySelectorAll("*")], copies = [...copy.querySelectorAll("*")];
    drawn.forEach((one, place) => { // colours of the page's theme, which a file does not have
        const { fill, stroke, fontFamily } = getComputedStyle(one);
        for (const [key, value] of Object.entries({ fill, stroke, "font-family": fontFamily })) copies[place].setAttribute(key, value);
    });
    const place = { x: 0, y: LINE, width, height };
    for (const [key, value] of Object.entries(place)) copy.setAttribute(key, value);
    picture.append(copy);
    const words = { x: 10, fill: getComputedStyle(element.firstElementChild).color, "font-size": 11, "font-family": ink.fontFamily };
    lines.forEach((line, row) => put("text", { ...words, y: row ? height + LINE * (row + 0.7) : 13 }, line));
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(picture))}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: width * SCALE, height: whole * SCALE });
    const context = canvas.getContext("2d");
    context.scale(SCALE, SCALE);
    context.drawImage(image, 0, 0, width, whole);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
}

export function download(content, name) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A button that opens a list of entries, [words, action, whether it can be done now].
export function menuButton(entries, { ink, paper, line }) {
    const holder = document.createElement("span"), button = document.createElement("button"), list = document.createElement("div");
    Object.assign(holder.style, { position: "relative", flex: "none" });
    Object.assign(button.style, { background: "none", border: "none", color: "inherit", cursor: "pointer", padding: "0 4px",
        font: "inherit", fontWeight: "bold", letterSpacing: "1px" });
    Object.assign(button, { textContent: "•••", title: "Chart menu", ariaLabel: "Chart menu" });
    Object.assign(list.style, { position: "absolute", right: "0", top: "100%", zIndex: 2, display: "none", minWidth: "150px",
        background: paper, border: `1px solid ${line}`, borderRadius: "4px", padding: "3px 0" });
    const away = (event) => { if (!holder.contains(event.target)) close(); };
    const close = () => {
        list.style.display = "none";
        document.removeEventListener("pointerdown", away, true);
    };
    button.addEventListener("click", (event) => {
        event.stopPropagation();
        if (list.style.display !== "none") return close();
        list.replaceChildren(...entries().map(([words, act, can]) => {
            const entry = document.createElement("button");
            Object.assign(entry.style, { display: "block", width: "100%", textAlign: "left", padding: "3px 10px", border: "none",
                background: "none", color: ink, font: "inherit", whiteSpace: "nowrap", opacity: can ? 1 : 0.45,
                cursor: can ? "pointer" : "default" });
            Object.assign(entry, { textContent: words, disabled: !can });
            entry.addEventListener("click", async (told) => {
                told.stopPropagation();
                close();
                try { await act(); } catch (error) { console.error(`InfuseNet: ${words} failed`, error); }
            });
            return entry;
        }));
        list.style.display = "block";
        document.addEventListener("pointerdown", away, true);
    });
    holder.append(button, list);
    return holder;
}
