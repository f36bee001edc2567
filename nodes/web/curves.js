// What a chart shows, as numbers: runs read into curves, and where their points lie. Nothing is drawn here.
const LEFT = 34, RIGHT = 10, TOP = 8; // pixels around the curves
const BOUNDED = 1.5; // noise levels above this are of a schedule without an upper bound

export const number = (value) => typeof value === "number";

// A run's points as [{step, sigma, mean, faint, low, high, count}]. As in the record, the mean is over one fixed set of
// batch items, and undefined where no face was seen in one of them; such a step may have a `faint` value, measured where
// the face is known to be: for the eye alone.
export function reading(run) {
    const points = run.points ?? [];
    const defined = (items) => [...items.keys()].filter((item) => number(items[item]));
    const seen = ([, , items, told]) => (Array.isArray(told) ? told : told ? defined(items) : []); // older ones: all or none
    const counted = run.counted ?? [...new Set(points.flatMap(seen))];
    return points.map((point) => {
        const [step, sigma, items] = point, sure = seen(point), chosen = counted.length ? counted : [...items.keys()];
        const values = chosen.map((item) => items[item]).filter(number);
        const mean = values.length && values.length === chosen.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
        const whole = counted.length > 0 && counted.every((item) => sure.includes(item));
        return { step, sigma, mean: whole ? mean : null, faint: whole ? null : mean, low: Math.min(...values),
            high: Math.max(...values), count: chosen.length };
    });
}

export const shown = (point) => point.mean ?? point.faint; // where a point is drawn, if anywhere

// What stands beside a run's curve, as [{kind, name, level, spread}]; a level of null is unknown.
export function linesOf(run) {
    const told = run.lines ?? (number(run.baseline) ? [["impostor", "other people", run.baseline, null]] : []);
    return told.map(([kind, name, level, spread]) => ({ kind, name, level, spread }));
}

// From where on a likeness is above the lines of other people and of no face by two deviations.
export function barOf(run) {
    const tops = linesOf(run).filter(({ spread }) => number(spread)).map(({ level, spread }) => level + 2 * spread);
    return tops.length ? { value: Math.max(...tops), lines: tops.length } : null;
}

export const same = (one, other) => one.sampler === other.sampler && one.by === other.by; // their curves compare

// One group for each sampler, the newest first: its newest run in full, the earlier ones faint. A probe with a second
// recognizer has two groups for each sampler; runs measured by any other network or rule do not compare.
export function grouped(runs, named, hues) {
    const pair = runs[0]?.pair ?? [runs[0]?.by], shown = runs.filter(({ by }) => pair.includes(by)), groups = [];
    for (const run of shown) {
        const known = groups.find(({ curves }) => same(curves[0].run, run)), curve = { run, series: reading(run) };
        if (known) known.curves.push(curve);
        else groups.push({ curves: [curve] });
    }
    const samplers = [...new Set(shown.map(({ sampler }) => sampler))];
    const place = ({ curves: [{ run }] }) => samplers.indexOf(run.sampler) * pair.length + pair.indexOf(run.by);
    const name = ({ curves: [{ run }] }) => {
        const sampler = named(run.sampler);
        if (pair.length < 2 || sampler === undefined) return sampler;
        return samplers.length > 1 ? `${sampler}, ${run.title}` : run.title;
    };
    return groups.sort((a, b) => place(a) - place(b)).map((group) => ({ ...group, name: name(group) }))
        .filter((group) => group.curves[0].run.sampler === samplers[0] || group.name !== undefined) // one that is gone
        .slice(0, hues.length).map((group, place) => ({ ...group, hue: hues[place] }));
}

// Each picture of a batch by itself: its points where it was seen, and its finished likeness.
export function itemsOf(run) {
    const count = Math.max(0, ...(run.points ?? []).map(([, , items]) => items.length));
    const best = (run.pictures ?? []).reduce((top, one) => {
        const value = one.final ?? one.peak;
        return number(value) && !(top && top.value >= value) ? { item: one.picture - 1, value } : top;
    }, null);
    return [...Array(count).keys()].map((item) => {
        const series = (run.points ?? []).map(([step, sigma, items, told]) => {
            const seen = Array.isArray(told) ? told.includes(item) : told;
            return { step, sigma, item, mean: seen && number(items[item]) ? items[item] : null };
        });
        const final = (run.pictures ?? []).find(({ picture }) => picture === item + 1)?.final, at = run.end_at;
        if (number(final) && at) series.push({ step: at[0], sigma: at[1], item, mean: final, finished: true });
        return { item, series, best: item === best?.item };
    });
}

export function endOf({ run, series }) { // the finished picture, as a point
    if (!number(run.final)) return null;
    const [step, sigma] = run.end_at ?? [series.at(-1)?.step, 0];
    return { step, sigma, mean: run.final, low: run.final, high: run.final, finished: true };
}

export function bestOf({ run, series }) { // the peak: as the record has it, else the highest so far
    const all = [...series, endOf({ run, series })].filter((point) => point && point.mean !== null);
    return all.reduce((best, point) => (best && best.mean >= point.mean ? best : point), null);
}

export function scales(curves, width, height) {
    const points = curves.flatMap((curve) => [...curve.series, endOf(curve)]).filter(Boolean);
    const bySigma = points.every((point) => number(point.sigma));
    const floor = height - (bySigma ? 30 : 18);
    const values = points.filter((point) => point.mean !== null).flatMap((point) => [point.low, point.high]);
    values.push(...points.map((point) => point.faint).filter(number));
    const networks = curves.filter(({ run }, place) => curves.findIndex((other) => other.run.by === run.by) === place);
    values.push(...networks.flatMap(({ run }) => linesOf(run).map(({ level }) => level)).filter(number));
    const low = Math.min(0, ...values), high = Math.max(0.2, ...values), span = (high - low) * 1.06;
    const top = Math.max(1e-6, ...points.map((point) => point.sigma).filter(number));
    const noise = (sigma) => (top > BOUNDED ? sigma / (1 + sigma) : sigma); // as a share, where there is no upper bound
    const steps = Math.max(1, ...curves.map(({ run, series }) => Math.max(run.steps ?? 0, series.at(-1)?.step ?? 0)));
    const share = (point) => (bySigma ? 1 - noise(point.sigma) / noise(top) : point.step / steps);
    return {
        bySigma, low, high, top, floor, left: LEFT, right: width - RIGHT, ceiling: TOP,
        x: (point) => LEFT + share(point) * (width - LEFT - RIGHT),
        y: (value) => floor - ((value - low) / span) * (floor - TOP),
    };
}

export function line(series, { x, y }) { // undefined breaks the line
    let path = "", pen = "M";
    for (const point of series) {
        if (point.mean === null) { pen = "M"; continue; }
        path += `${pen}${x(point).toFixed(1)} ${y(point.mean).toFixed(1)}`;
        pen = "L";
    }
    return path;
}

export function bands(series, { x, y }) { // one polygon for each unbroken stretch
    const stretches = [[]];
    for (const point of series) {
        if (point.mean === null) stretches.push([]); else stretches.at(-1).push(point);
    }
    const corner = (point, value) => `${x(point).toFixed(1)},${y(value).toFixed(1)}`;
    return stretches.filter((part) => part.length > 1).map((part) =>
        [...part.map((p) => corner(p, p.high)), ...part.map((p) => corner(p, p.low)).reverse()].join(" "));
}
