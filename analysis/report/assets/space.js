// ---- Three metrics as a space that can be turned: by dragging, or with the arrow keys.
function space(root) {
  const plot = root.querySelector(".plot"), controls = root.querySelector(".controls");
  const TEST = DATA.splits.indexOf("test"), VALIDATION = DATA.splits.indexOf("validation");
  const kinds = ["replicate", "fixed_weights", "weight_sweep"].map((name) => DATA.phases.indexOf(name));
  const labels = DATA.metrics.map((metric) => metric.label);
  const axes = [0, 1, 2].map((k) => DATA.main[k] ?? k);
  const has = (split, phase) => DATA.points.some((d) => d[1] === phase && d[5 + split].some((v) => v !== null));
  const leading = DATA.points.some((d) => d[1] === kinds[2]) ? kinds[2] : kinds[0];
  const state = { axes, split: has(TEST, leading) ? TEST : VALIDATION, turn: -0.65, tilt: 0.42, means: true };
  ["x", "y", "z"].forEach((name, k) => choose(controls, name, labels, axes[k], (v) => { state.axes[k] = v; draw(); }));
  choose(controls, "split", DATA.splits, state.split, (v) => { state.split = v; draw(); });
  tick(controls, "means over seeds", true, (on) => { state.means = on; draw(); });

  // Each entry: the variant's place, its phase, the three values, and the text of its tooltip.
  function entries() {
    const found = [], sums = new Map();
    DATA.points.forEach((d) => {
      const value = state.axes.map((axis) => d[5 + state.split][axis]);
      if (!kinds.includes(d[1]) || value.some((v) => v === null || v === undefined)) return;
      const text = state.axes.map((axis, k) => `${labels[axis]}: ${format(value[k])}`);
      if (!state.means) {
        found.push({ variant: d[0], phase: d[1], value, text: [`seed ${d[2]}, trial ${d[3]}`, d[4], ...text] });
        return;
      }
      const key = `${d[0]} ${d[1]}`, sum = sums.get(key) || { variant: d[0], phase: d[1], value: [0, 0, 0], n: 0, settings: d[4] };
      sums.set(key, sum);
      sum.n += 1;
      value.forEach((v, k) => { sum.value[k] += v; });
    });
    for (const sum of sums.values()) {
      const value = sum.value.map((v) => v / sum.n);
      found.push({ variant: sum.variant, phase: sum.phase, value,
        text: [`mean of ${sum.n} trial${sum.n === 1 ? "" : "s"}`, sum.settings, ...state.axes.map((axis, k) => `${labels[axis]}: ${format(value[k])}`)] });
    }
    return found;
  }
  function onFront(all) {
    const swept = all.filter((e) => DATA.variants[e.variant].swept);
    const gain = (p, q) => state.axes.map((axis, k) => (DATA.metrics[axis].higher ? p.value[k] - q.value[k] : q.value[k] - p.value[k]));
    return new Set(swept.filter((p) => !swept.some((q) => { const g = gain(q, p); return g.every((v) => v >= 0) && g.some((v) => v > 0); })));
  }
  let shown = [], ranges = [], place = null, nodes = [], width = 0, height = 0;
  function project(value) {
    const unit = value.map((v, k) => (v - ranges[k][0]) / (ranges[k][1] - ranges[k][0]) - 0.5);
    const c = Math.cos(state.turn), s = Math.sin(state.turn), ct = Math.cos(state.tilt), st = Math.sin(state.tilt);
    const across = unit[0] * c - unit[1] * s, away = unit[0] * s + unit[1] * c;
    const size = Math.min(width * 0.56, height * 0.66);
    return [width / 2 + across * size, height / 2 - 6 + (away * st - unit[2] * ct) * size, away * ct + unit[2] * st];
  }
  function line(from, to, attributes, parent) {
    const a = project(from), b = project(to);
    return svgNode("line", { x1: a[0].toFixed(1), y1: a[1].toFixed(1), x2: b[0].toFixed(1), y2: b[1].toFixed(1), ...attributes }, parent);
  }
  function render() {
    place.replaceChildren();
    const corner = (i, j, k) => [ranges[0][i], ranges[1][j], ranges[2][k]];
    for (const [a, b] of [[[0, 0], [1, 0]], [[0, 0], [0, 1]], [[1, 0], [1, 1]], [[0, 1], [1, 1]]]) {
      line(corner(...a, 0), corner(...b, 0), { class: "grid edge" }, place);
    }
    for (const [i, j] of [[0, 0], [1, 0], [0, 1], [1, 1]]) line(corner(i, j, 0), corner(i, j, 1), { class: "grid" }, place);
    // Names and ends of the axes stand at the edges of the floor that are nearest to the reader.
    const near = (i, j) => project(corner(i, j, 0))[2];
    const front = near(0, 0) + near(1, 0) > near(0, 1) + near(1, 1) ? 0 : 1, side = near(0, 0) + near(0, 1) > near(1, 0) + near(1, 1) ? 0 : 1;
    const text = (value, x, y, kind, anchor) => { svgNode("text", { x: x.toFixed(1), y: y.toFixed(1), class: kind, "text-anchor": anchor }, place).textContent = value; };
    const inside = (x, room) => Math.max(room, Math.min(width - room, x));
    [[corner(0, front, 0), corner(1, front, 0)], [corner(side, 0, 0), corner(side, 1, 0)]].forEach(([from, to], k) => {
      const a = project(from), b = project(to);
      [[a, b, 0], [b, a, 1]].forEach(([end, other, which]) => {
        const x = end[0] + 0.2 * (other[0] - end[0]), y = end[1] + 0.2 * (other[1] - end[1]);
        text(format(ranges[k][which]), inside(x, 24), y + 15, "tick", "middle");
      });
      text(labels[state.axes[k]], inside((a[0] + b[0]) / 2, 62), (a[1] + b[1]) / 2 + 30, "label", "middle");
    });
    // The third axis stands where the outline of the box is, so that nothing lies behind its name.
    const posts = [[0, 0], [1, 0], [0, 1], [1, 1]].map(([i, j]) => [project(corner(i, j, 0)), project(corner(i, j, 1))]);
    const [foot, head] = posts.reduce((p, q) => (q[0][0] < p[0][0] ? q : p));
    text(format(ranges[2][0]), inside(foot[0] - 5, 40), foot[1] - 4, "tick", "end");
    text(format(ranges[2][1]), inside(head[0] - 5, 40), head[1] + 9, "tick", "end");
    text(labels[state.axes[2]], inside(head[0], 62), Math.max(14, head[1] - 8), "label", "middle");
    const order = shown.map((_, i) => i).sort((i, j) => project(shown[i].value)[2] - project(shown[j].value)[2]);
    for (const i of order) {
      const e = shown[i], v = DATA.variants[e.variant], [x, y] = project(e.value);
      const colour = v.swept ? "#6B7280" : v.colour, hollow = v.swept ? !e.front : v.hollow;
      line(e.value, [e.value[0], e.value[1], ranges[2][0]], { stroke: colour, "stroke-width": v.swept ? 0.5 : 1, "stroke-opacity": v.swept ? 0.35 : 0.7, class: `stem${dimmed(v.family)}`, "data-family": v.family }, place);
      svgNode("path", {
        d: SHAPES[v.marker](v.swept ? 3.2 : state.means ? 6 : 4), transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
        fill: hollow ? "#fff" : colour, stroke: hollow ? colour : "#fff", "stroke-width": hollow ? 1.3 : 0.6,
        class: `mark${dimmed(v.family)}`, "data-i": i, "data-family": v.family,
      }, place);
    }
  }
  function draw() {
    shown = entries();
    const front = onFront(shown);
    shown.forEach((e) => { e.front = front.has(e); });
    ranges = [0, 1, 2].map((k) => extent(shown.map((e) => e.value[k]), 0.05));
    width = Math.max(300, Math.min(900, plot.clientWidth || 700));
    height = Math.max(320, Math.min(520, width * 0.72));
    plot.replaceChildren();
    if (!shown.length) plot.append(`No trial has these values on ${DATA.splits[state.split]}.`);
    const svg = svgNode("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, class: "turns", "aria-label": "Three metrics as a space; arrow keys turn it" }, plot);
    place = svgNode("g", {}, svg);
    render();
    explain(svg, (i) => { const e = shown[i], v = DATA.variants[e.variant]; return [v.label, `${PHASE_NAMES[DATA.phases[e.phase]]}, ${e.text[0]}`, ...e.text.slice(1)]; });
    turnable(svg);
  }
  function turn(across, up) {
    state.turn += across;
    state.tilt = Math.max(0, Math.min(Math.PI / 2, state.tilt + up));
    render();
  }
  function turnable(svg) {
    let from = null, moved = false;
    svg.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; moved = false; });
    svg.addEventListener("pointermove", (event) => {
      if (!from || !(event.buttons & 1)) return;
      const across = event.clientX - from[0], up = event.clientY - from[1];
      if (!moved && Math.hypot(across, up) < 4) return;
      if (!moved) svg.setPointerCapture(event.pointerId);
      moved = true;
      hideTooltip();
      from = [event.clientX, event.clientY];
      turn(-across * 0.01, event.pointerType === "touch" ? 0 : up * 0.01);
    });
    svg.addEventListener("pointerup", () => { from = null; });
    svg.addEventListener("click", (event) => { if (moved) { event.stopPropagation(); moved = false; } }, true);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
      if (!by) return;
      event.preventDefault();
      turn(...by);
    });
  }
  chips(root.querySelector(".chips"), DATA.variants.filter((v) => !v.swept && DATA.points.some((d) => DATA.variants[d[0]] === v && kinds.includes(d[1]))));
  draw();
  return draw;
}
