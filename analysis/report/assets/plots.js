// ---- Small SVG plots.
const NS = "http://www.w3.org/2000/svg";
function svgNode(name, attributes, parent) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}
function format(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  return text.replace("-", "−");
}
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) found.push(Math.abs(t) < 1e-9 * step ? 0 : t);
  return found;
}
function extent(values, pad) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null) { if (v < low) low = v; if (v > high) high = v; }
  if (low === Infinity) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * pad;
  return [low - room, high + room];
}
function frame(host, xRange, yRange, xLabel, yLabel, label, whole = false) {
  host.replaceChildren();
  const width = Math.max(300, Math.min(900, host.clientWidth || 700));
  const height = Math.max(260, Math.min(460, width * 0.62));
  const m = { left: 62, right: 14, top: 10, bottom: 44 };
  const svg = svgNode("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, host);
  const x = (v) => m.left + (v - xRange[0]) / (xRange[1] - xRange[0]) * (width - m.left - m.right);
  const y = (v) => height - m.bottom - (v - yRange[0]) / (yRange[1] - yRange[0]) * (height - m.top - m.bottom);
  for (const t of ticks(...xRange, width < 480 ? 4 : 7).filter((v) => !whole || Number.isInteger(v))) {
    svgNode("line", { x1: x(t), x2: x(t), y1: m.top, y2: height - m.bottom, class: "grid" }, svg);
    svgNode("text", { x: x(t), y: height - m.bottom + 16, class: "tick", "text-anchor": "middle" }, svg).textContent = format(t);
  }
  for (const t of ticks(...yRange, 6)) {
    svgNode("line", { x1: m.left, x2: width - m.right, y1: y(t), y2: y(t), class: "grid" }, svg);
    svgNode("text", { x: m.left - 6, y: y(t) + 4, class: "tick", "text-anchor": "end" }, svg).textContent = format(t);
  }
  svgNode("text", { x: (m.left + width - m.right) / 2, y: height - 8, class: "label", "text-anchor": "middle" }, svg).textContent = xLabel;
  svgNode("text", { x: 14, y: (m.top + height - m.bottom) / 2, class: "label", "text-anchor": "middle", transform: `rotate(-90 14 ${(m.top + height - m.bottom) / 2})` }, svg).textContent = yLabel;
  return { svg, x, y, width, height, m };
}
// Shapes in the order of the static figures' markers: o s ^ D v P X * < >
const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0,${-r * 1.2}L${r * 1.1},${r}L${-r * 1.1},${r}z`,
  (r) => `M0,${-r * 1.3}L${r * 1.3},0L0,${r * 1.3}L${-r * 1.3},0z`,
  (r) => `M0,${r * 1.2}L${r * 1.1},${-r}L${-r * 1.1},${-r}z`,
  (r) => `M${-r * 0.4},${-r * 1.1}h${r * 0.8}v${r * 0.7}h${r * 0.7}v${r * 0.8}h${-r * 0.7}v${r * 0.7}h${-r * 0.8}v${-r * 0.7}h${-r * 0.7}v${-r * 0.8}h${r * 0.7}z`,
  (r) => `M${-r},${-r * 0.5}L${-r * 0.5},${-r}L0,${-r * 0.5}L${r * 0.5},${-r}L${r},${-r * 0.5}L${r * 0.5},0L${r},${r * 0.5}L${r * 0.5},${r}L0,${r * 0.5}L${-r * 0.5},${r}L${-r},${r * 0.5}L${-r * 0.5},0z`,
  (r) => `M0,${-r * 1.3}L${r * 0.35},${-r * 0.4}L${r * 1.25},${-r * 0.4}L${r * 0.55},${r * 0.2}L${r * 0.8},${r * 1.1}L0,${r * 0.55}L${-r * 0.8},${r * 1.1}L${-r * 0.55},${r * 0.2}L${-r * 1.25},${-r * 0.4}L${-r * 0.35},${-r * 0.4}z`,
  (r) => `M${-r * 1.2},0L${r},${-r * 1.1}L${r},${r * 1.1}z`,
  (r) => `M${r * 1.2},0L${-r},${-r * 1.1}L${-r},${r * 1.1}z`,
];
function chips(host, entries) {
  host.replaceChildren(...entries.map((entry) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.family = entry.family;
    chip.setAttribute("aria-pressed", String(isolation.family === entry.family));
    const swatch = svgNode("svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, chip);
    svgNode("path", { d: SHAPES[entry.marker](4.5), fill: entry.hollow ? "#fff" : entry.colour, stroke: entry.colour }, swatch);
    chip.append(` ${entry.label}`);
    chip.addEventListener("click", () => isolate(entry.family));
    return chip;
  }));
}
function choose(host, title, options, selected, change) {
  const label = document.createElement("label");
  label.append(`${title} `);
  const select = document.createElement("select");
  options.forEach((text, place) => select.append(new Option(text, place, false, place === selected)));
  select.addEventListener("change", () => change(Number(select.value)));
  label.append(select);
  host.append(label);
  return select;
}
function tick(host, title, checked, change) {
  const label = document.createElement("label"), box = document.createElement("input");
  box.type = "checkbox";
  box.checked = checked;
  box.addEventListener("change", () => change(box.checked));
  label.append(box, ` ${title}`);
  host.append(label);
}
// Hover and touch find the mark through its index: one listener for a whole plot.
function explain(svg, describe) {
  const show = (event) => {
    const mark = event.target.closest("[data-i]");
    if (!mark) { hideTooltip(); return; }
    const box = mark.getBoundingClientRect();
    showTooltip(describe(Number(mark.dataset.i)), event.clientX || box.right, event.clientY || box.bottom);
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hideTooltip);
  svg.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-family]");
    if (mark && mark.dataset.family) isolate(mark.dataset.family);
  });
}
function dimmed(family) { return isolation.family !== null && family !== "" && family !== isolation.family ? " dim" : ""; }

// Mean of each swept point over its seeds, and of these the ones that no other dominates.
// Replicates of equal weights are further seeds of the equal point.
function sweptFront(kept, values, higherX, higherY) {
  const sums = new Map(), seen = new Set();
  if (!kept.some((i) => DATA.variants[DATA.points[i][0]].swept)) return [];
  const phases = [DATA.phases.indexOf("weight_sweep"), DATA.phases.indexOf("replicate")];
  for (const i of kept.slice().sort((i, j) => DATA.points[j][1] - DATA.points[i][1])) {
    const d = DATA.points[i], point = DATA.variants[d[0]].point, once = `${point} ${d[2]}`;
    if (!point || !phases.includes(d[1]) || seen.has(once)) continue;
    seen.add(once);
    const [a, b] = values(d), sum = sums.get(point) || [0, 0, 0];
    sums.set(point, [sum[0] + a, sum[1] + b, sum[2] + 1]);
  }
  const means = Array.from(sums.values(), ([a, b, n]) => [a / n, b / n]);
  const better = (p, q, higher) => (higher ? p - q : q - p);
  return means.filter((p) => !means.some((q) => {
    const dx = better(q[0], p[0], higherX), dy = better(q[1], p[1], higherY);
    return dx >= 0 && dy >= 0 && dx + dy > 0;
  })).sort((p, q) => p[0] - q[0]);
}

// ---- Trade-off: every trial on two metrics.
const PHASE_NAMES = { replicate: "replicates", fixed_weights: "fixed weights", weight_sweep: "weight sweep", sensitivity: "sensitivity", search: "search" };
function tradeoff(root) {
  const plot = root.querySelector(".plot"), controls = root.querySelector(".controls");
  const TEST = DATA.splits.indexOf("test"), VALIDATION = DATA.splits.indexOf("validation");
  const present = DATA.phases.filter((_, p) => DATA.points.some((d) => d[1] === p));
  const onTest = (phase) => DATA.points.some((d) => d[1] === DATA.phases.indexOf(phase) && d[5 + TEST].some((v) => v !== null));
  const state = {
    x: DATA.main[0], y: DATA.main[1] ?? DATA.metrics.length - 1,
    split: present.includes("weight_sweep") ? (onTest("weight_sweep") ? TEST : VALIDATION) : (onTest("replicate") ? TEST : VALIDATION),
    shown: new Set(present.filter((p) => p !== "search" && p !== "sensitivity")),
  };
  if (!state.shown.size) present.forEach((p) => state.shown.add(p));
  const labels = DATA.metrics.map((metric) => metric.label);
  choose(controls, "across", labels, state.x, (v) => { state.x = v; draw(); });
  choose(controls, "up", labels, state.y, (v) => { state.y = v; draw(); });
  choose(controls, "split", DATA.splits, state.split, (v) => { state.split = v; draw(); });
  for (const phase of present) {
    tick(controls, PHASE_NAMES[phase], state.shown.has(phase), (on) => { on ? state.shown.add(phase) : state.shown.delete(phase); draw(); });
  }
  function draw() {
    const values = (d) => [d[5 + state.split][state.x], d[5 + state.split][state.y]];
    const kept = [];
    DATA.points.forEach((d, i) => {
      const [a, b] = values(d);
      if (a !== null && b !== null && state.shown.has(DATA.phases[d[1]])) kept.push(i);
    });
    const base = DATA.reference[state.split];
    const xs = kept.map((i) => values(DATA.points[i])[0]), ys = kept.map((i) => values(DATA.points[i])[1]);
    if (kept.length && base[state.x] !== null) xs.push(base[state.x]);
    if (kept.length && base[state.y] !== null) ys.push(base[state.y]);
    const split = DATA.splits[state.split];
    const f = frame(plot, extent(xs, 0.06), extent(ys, 0.06), `${labels[state.x]} (${split})`, `${labels[state.y]} (${split})`, "Trade-off between two metrics");
    if (!kept.length) { plot.prepend(`No trial has these values on ${split}.`); }
    if (base[state.x] !== null) svgNode("line", { x1: f.x(base[state.x]), x2: f.x(base[state.x]), y1: f.m.top, y2: f.height - f.m.bottom, class: "reference" }, f.svg);
    if (base[state.y] !== null) svgNode("line", { y1: f.y(base[state.y]), y2: f.y(base[state.y]), x1: f.m.left, x2: f.width - f.m.right, class: "reference" }, f.svg);
    const front = sweptFront(kept, values, DATA.metrics[state.x].higher, DATA.metrics[state.y].higher);
    if (front.length > 1) {
      svgNode("path", { d: front.map(([a, b], t) => `${t ? "L" : "M"}${f.x(a).toFixed(1)},${f.y(b).toFixed(1)}`).join(""), class: "front" }, f.svg);
    }
    const order = { weight_sweep: 0, search: 1, sensitivity: 2, fixed_weights: 3, replicate: 4 };
    kept.sort((i, j) => order[DATA.phases[DATA.points[i][1]]] - order[DATA.phases[DATA.points[j][1]]]);
    const marks = svgNode("g", { class: "marks" }, f.svg);
    for (const i of kept) {
      const d = DATA.points[i], v = DATA.variants[d[0]], [a, b] = values(d);
      const small = d[1] !== 0 && d[1] !== 1;
      svgNode("path", {
        d: SHAPES[v.marker](v.swept ? 3.4 : small ? 2.6 : 5), transform: `translate(${f.x(a).toFixed(1)},${f.y(b).toFixed(1)})`,
        fill: v.hollow ? "#fff" : v.colour, stroke: v.hollow ? v.colour : "#fff", "stroke-width": v.hollow ? 1.6 : 0.6,
        class: `mark${dimmed(v.family)}`, "data-i": i, "data-family": v.family, "fill-opacity": small ? 0.65 : 0.9,
      }, marks);
    }
    const mx = DATA.metrics[state.x].higher, my = DATA.metrics[state.y].higher;
    svgNode("text", { x: mx ? f.width - f.m.right - 4 : f.m.left + 4, y: my ? f.m.top + 12 : f.height - f.m.bottom - 6, class: "tick", "text-anchor": mx ? "end" : "start" }, f.svg).textContent = "better";
    explain(f.svg, (i) => {
      const d = DATA.points[i], v = DATA.variants[d[0]];
      return [v.label, `${PHASE_NAMES[DATA.phases[d[1]]]}, seed ${d[2]}, trial ${d[3]}`, d[4],
        ...labels.slice(0, 12).map((text, k) => `${text}: ${format(d[5 + state.split][k])}`)];
    });
  }
  chips(root.querySelector(".chips"), DATA.variants.filter((v) => !v.swept));
  draw();
  return draw;
}

// ---- Weights over epochs.
const TASK_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F5A3C", "#000000"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
function weights(root) {
  const plot = root.querySelector(".plot"), { tasks, series } = DATA.weights;
  const family = (name) => { const v = DATA.variants.find((entry) => entry.name === name); return v ? v.family : name; };
  let current = 0;
  const moving = series.findIndex((s) => s.mean.some((line) => Math.abs(line[0] - line[line.length - 1]) > 1e-6));
  if (moving >= 0) current = moving;
  const select = choose(root.querySelector(".controls"), "method", series.map((s) => s.label), current, (v) => { current = v; draw(); });
  const key = root.querySelector(".chips");
  key.className = "key";
  key.removeAttribute("role");
  key.replaceChildren(...tasks.map((task, k) => {
    const part = document.createElement("span");
    const swatch = svgNode("svg", { width: 26, height: 10, viewBox: "0 0 26 10", "aria-hidden": "true" }, part);
    svgNode("line", { x1: 1, x2: 25, y1: 5, y2: 5, stroke: TASK_COLOURS[k % 8], "stroke-width": 2.4, "stroke-dasharray": DASHES[Math.floor(k / 8) % 4] }, swatch);
    part.append(` ${task}`);
    return part;
  }));
  isolation.listeners.push((on) => {
    const found = series.findIndex((s) => family(s.name) === on);
    if (on !== null && found >= 0 && found !== current) { current = found; select.value = found; draw(); }
  });
  function draw() {
    const s = series[current], all = [1 / tasks.length];
    s.mean.forEach((line, k) => line.forEach((v, t) => { if (v !== null) all.push(v - (s.std[k][t] || 0), v + (s.std[k][t] || 0)); }));
    const f = frame(plot, extent(s.epochs, 0.02), extent(all, 0.06), "epoch", "share of the weight", `Effective weights of ${s.label}`, true);
    svgNode("line", { x1: f.m.left, x2: f.width - f.m.right, y1: f.y(1 / tasks.length), y2: f.y(1 / tasks.length), class: "reference" }, f.svg);
    const path = (values) => values.map((v, t) => (v === null ? "" : `${t && values[t - 1] !== null ? "L" : "M"}${f.x(s.epochs[t]).toFixed(1)},${f.y(v).toFixed(1)}`)).join("");
    tasks.forEach((task, k) => {
      const colour = TASK_COLOURS[k % 8];
      const edge = (sign) => s.mean[k].map((v, t) => [t, v === null ? null : v + sign * (s.std[k][t] || 0)]).filter(([, v]) => v !== null);
      const around = [...edge(1), ...edge(-1).reverse()].map(([t, v]) => `${f.x(s.epochs[t]).toFixed(1)},${f.y(v).toFixed(1)}`);
      if (around.length) svgNode("path", { d: `M${around.join("L")}z`, fill: colour, "fill-opacity": 0.15 }, f.svg);
      svgNode("path", { d: path(s.mean[k]), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": DASHES[Math.floor(k / 8) % 4], class: "line" }, f.svg);
      svgNode("path", { d: path(s.smooth[k]), fill: "none", stroke: colour, "stroke-width": 1.3, "stroke-dasharray": "1 4" }, f.svg);
    });
    const guide = svgNode("line", { y1: f.m.top, y2: f.height - f.m.bottom, class: "guide", visibility: "hidden" }, f.svg);
    const move = (event) => {
      const box = f.svg.getBoundingClientRect(), at = (event.clientX - box.left) * f.width / box.width;
      let best = 0;
      s.epochs.forEach((epoch, t) => { if (Math.abs(f.x(epoch) - at) < Math.abs(f.x(s.epochs[best]) - at)) best = t; });
      guide.setAttribute("x1", f.x(s.epochs[best]));
      guide.setAttribute("x2", f.x(s.epochs[best]));
      guide.setAttribute("visibility", "visible");
      showTooltip([`${s.label}, epoch ${s.epochs[best]}`, ...tasks.map((task, k) => `${task}: ${format(s.mean[k][best])} ± ${format(s.std[k][best])}`)], event.clientX, event.clientY);
    };
    f.svg.addEventListener("pointermove", move);
    f.svg.addEventListener("pointerdown", move);
    f.svg.addEventListener("pointerleave", () => { hideTooltip(); guide.setAttribute("visibility", "hidden"); });
  }
  draw();
  return draw;
}

// ---- Search: best so far and every configuration.
function search(root) {
  const plot = root.querySelector(".plot"), { objective, higher, series } = DATA.search;
  const look = (name) => DATA.variants.find((v) => v.name === name) || { name, label: name, family: name, colour: "#6B7280", marker: 0, hollow: false };
  function draw() {
    const values = series.flatMap((s) => s.values).filter((v) => v !== null).sort((a, b) => a - b);
    const cut = Math.floor(values.length * 0.1);
    const range = extent(higher ? values.slice(cut) : values.slice(0, values.length - cut), 0.06);
    const longest = Math.max(1, ...series.map((s) => s.values.length));
    const f = frame(plot, [0.5, longest + 0.5], range, "configurations tried", `validation ${objective}`, "Search: best so far", true);
    const points = [];
    for (const s of series) {
      const v = look(s.name);
      let best = null, line = "";
      s.values.forEach((value, t) => {
        if (value !== null && (best === null || (higher ? value > best : value < best))) best = value;
        if (value !== null && value >= range[0] && value <= range[1]) {
          svgNode("path", { d: SHAPES[v.marker](2.4), transform: `translate(${f.x(t + 1).toFixed(1)},${f.y(value).toFixed(1)})`, fill: v.colour, "fill-opacity": 0.5, class: `mark${dimmed(v.family)}`, "data-i": points.length, "data-family": v.family }, f.svg);
          points.push([s, t]);
        }
        if (best !== null && best >= range[0] && best <= range[1]) line += `${line ? `H${f.x(t + 1).toFixed(1)}V` : `M${f.x(t + 1).toFixed(1)},`}${f.y(best).toFixed(1)}`;
      });
      if (line) svgNode("path", { d: line, fill: "none", stroke: v.colour, "stroke-width": 2, class: `line${dimmed(v.family)}`, "data-family": v.family }, f.svg);
    }
    explain(f.svg, (i) => { const [s, t] = points[i]; return [`${s.label}, configuration ${t + 1}`, `${objective}: ${format(s.values[t])}`, s.settings[t]]; });
  }
  chips(root.querySelector(".chips"), series.map((s) => look(s.name)));
  draw();
  return draw;
}
