// What is drawn: `view` is all that it depends on.
const AXIS = 22, PAD = 5, LEAST = 5;
const view = {
  from: span[0], to: span[1], top: 0, hovered: -1, pinned: -1, name: -1,
  width: 0, height: 0, gutter: 0, over: null,
};
const lanesCanvas = $("lanes"), overview = $("overview"), scroller = $("scroll");
const brush = lanesCanvas.getContext("2d"), strip = overview.getContext("2d");
const FONT = '11px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
let theme = {}, hatch = null, asked = false;

const scale = () => (view.width - view.gutter) / (view.to - view.from);
const xOf = (t) => view.gutter + (t - view.from) * scale();
const timeAt = (x) => view.from + (x - view.gutter) / scale();

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["back", "ink", "quiet", "line", "soft", "busy", "error", "kin", "hatch", "call", "focus"]) {
    theme[name] = style.getPropertyValue("--" + name).trim();
  }
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const pen = tile.getContext("2d");
  pen.strokeStyle = theme.hatch;
  pen.lineWidth = 2.4;
  pen.beginPath();
  for (const shift of [-6, 0, 6]) { pen.moveTo(shift - 1, 7); pen.lineTo(shift + 7, -1); }
  pen.stroke();
  hatch = brush.createPattern(tile, "repeat");
}

// Light or dark letters, whichever the colour under them needs.
const inks = data.colours.map((colour) => {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 120 ? "#111" : "#fff";
});
const shorts = data.names.map((name) => name.slice(name.lastIndexOf(".") + 1) || name);

const contentHeight = (() => {
  let y = AXIS + PAD, lane = 0, top = y;
  const next = () => { y = Math.max(y, top + 16) + PAD; top = y; };
  for (const row of rows) {
    if (row.lane !== lane) { next(); lane = row.lane; }
    row.y = y;
    row.h = row.level < 0 ? 5 : row.level === 0 ? 18 : 12;
    y += row.h + 1;
  }
  next();
  return y;
})();

function fit(canvas, pen, width, height) {
  const dots = window.devicePixelRatio || 1;
  const w = Math.max(1, Math.round(width * dots)), h = Math.max(1, Math.round(height * dots));
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  pen.setTransform(dots, 0, 0, dots, 0, 0);
}

function layout() {
  view.width = scroller.clientWidth;
  view.height = Math.min(contentHeight, Math.max(160, Math.round(window.innerHeight * 0.7)));
  scroller.style.height = view.height + 2 + "px";
  $("tall").style.height = contentHeight + "px";
  lanesCanvas.style.height = view.height + "px";
  view.width = scroller.clientWidth; // the scroll bar may have come or gone
  brush.font = FONT;
  let widest = 40;
  for (const lane of data.lanes.slice(0, 500)) {
    widest = Math.max(widest, brush.measureText(lane.label).width + 14);
  }
  view.gutter = Math.round(Math.min(widest, 240, view.width * 0.28));
  ask();
}

function shorten(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const mid = (low + high + 1) >> 1;
    const half = mid >> 1;
    const cut = text.slice(0, mid - half) + "…" + text.slice(text.length - half);
    if (pen.measureText(cut).width <= room) low = mid; else high = mid - 1;
  }
  const half = low >> 1;
  return text.slice(0, low - half) + "…" + text.slice(text.length - half);
}

// A name in a bar: its beginning, or nothing where that says too little.
function cut(pen, text, room) {
  const wide = pen.measureText(text).width;
  if (wide <= room) return text;
  const keep = Math.floor((text.length * (room - 8)) / wide);
  return keep < 3 ? "" : text.slice(0, keep) + "…";
}

function ticks(room) {
  const rough = (view.to - view.from) / Math.max(1, room / 105);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * size).find((s) => s >= rough * 0.9999) || size;
  const most = Math.max(Math.abs(view.from), Math.abs(view.to));
  const [unit, us] = most < 1e3 ? ["µs", 1] : most < 1e6 ? ["ms", 1e3] : ["s", 1e6];
  const digits = Math.max(0, -Math.floor(Math.log10(step / us) + 1e-9));
  const marks = [];
  for (let n = Math.ceil(view.from / step); n * step <= view.to; n++) {
    marks.push([n * step, ((n * step) / us).toFixed(digits) + " " + unit]);
  }
  return marks;
}

// Bars of at least 1.5 pixels one by one; of the others one for each pixel, as opaque
// as it is full, in the colour of the function with most time in it.
function drawRow(row, y) {
  const { start, end, items } = row, k = scale(), left = view.gutter;
  const calls = row.level < 0;
  let pixel = -1, full = 0, best = 0, name = -1, bad = false;
  let run = null;
  const paint = () => {
    if (!run) return;
    brush.globalAlpha = run.alpha;
    brush.fillStyle = calls ? theme.call : data.colours[run.name];
    brush.fillRect(left + run.from, y, run.to - run.from, row.h);
    if (run.bad) {
      brush.globalAlpha = 1;
      brush.fillStyle = theme.error;
      brush.fillRect(left + run.from, y, Math.max(2, run.to - run.from), 4);
    }
    run = null;
  };
  const flush = () => {
    if (pixel < 0) return;
    let alpha = 0.4 + 0.2 * Math.ceil(3 * Math.min(1, full));
    if (view.name >= 0 && name !== view.name && !calls) alpha *= 0.15;
    if (run && run.to === pixel && run.name === name && run.alpha === alpha && run.bad === bad) {
      run.to = pixel + 1;
    } else {
      paint();
      run = { from: pixel, to: pixel + 1, name, alpha, bad };
    }
    pixel = -1;
  };
  for (let i = search(row.reach, view.from, false); i < items.length; i++) {
    if (start[i] > view.to) break;
    if (end[i] < view.from) continue;
    const item = items[i];
    const x0 = (start[i] - view.from) * k, wide = (end[i] - start[i]) * k;
    const failed = !calls && T.error[item] >= 0;
    if (wide >= 1.5) {
      flush();
      paint();
      drawBar(row, item, Math.max(-9, x0), Math.min(view.width + 9, x0 + wide), y, failed);
      continue;
    }
    const here = Math.max(0, Math.floor(x0));
    if (here !== pixel) { flush(); pixel = here; full = 0; best = -1; bad = false; }
    full += Math.max(wide, 0.02);
    bad = bad || failed;
    const own = calls ? -1 : T.name[item];
    if (wide > best || own === view.name) {
      best = own === view.name ? Infinity : wide;
      name = own;
    }
  }
  flush();
  paint();
  brush.globalAlpha = 1;
}

function drawBar(row, item, x0, x1, y, failed) {
  const left = view.gutter, wide = x1 - x0, calls = row.level < 0;
  const x = left + x0, w = wide > 4 ? wide - 1 : wide;
  const faint = !calls && view.name >= 0 && T.name[item] !== view.name;
  brush.globalAlpha = faint ? 0.15 : 1;
  brush.fillStyle = calls ? theme.call : data.colours[T.name[item]];
  brush.fillRect(x, y, w, row.h);
  if (calls) return;
  const own = waits.get(item);
  if (own) {
    brush.fillStyle = wide > 8 ? hatch : theme.hatch;
    for (const [from, to] of own) {
      const a = Math.max(x, xOf(from)), b = Math.min(x + w, xOf(to));
      if (b > a) brush.fillRect(a, y, b - a, row.h);
    }
  }
  if (failed) {
    brush.strokeStyle = theme.error;
    brush.lineWidth = 2;
    if (w > 5) brush.strokeRect(x + 1, y + 1, w - 2, row.h - 2);
    else { brush.fillStyle = theme.error; brush.fillRect(x, y, Math.max(w, 2), 4); }
    if (w > 14) {
      const a = x + w - 10, m = y + row.h / 2;
      brush.beginPath();
      brush.moveTo(a, m - 3); brush.lineTo(a + 6, m + 3);
      brush.moveTo(a + 6, m - 3); brush.lineTo(a, m + 3);
      brush.stroke();
    }
  }
  const shown = Math.max(x, left), room = x + w - shown - 8 - (failed ? 12 : 0);
  if (room > 20) {
    const text = cut(brush, shorts[T.name[item]], room);
    const size = brush.measureText(text).width, m = y + row.h / 2;
    if (own && text) { // letters on hatching need a ground
      brush.fillStyle = data.colours[T.name[item]];
      brush.fillRect(shown + 2, y + 2, size + 4, row.h - 4);
    }
    brush.fillStyle = inks[T.name[item]];
    if (text) brush.fillText(text, shown + 4, m + 0.5);
  }
  brush.globalAlpha = 1;
}

function outline(task, colour, wide) {
  const row = rowFor(task), y = row.y - view.top;
  const a = Math.max(view.gutter - 4, xOf(T.start[task])), b = Math.min(view.width + 4, xOf(T.end[task]));
  if (b < view.gutter || a > view.width) return;
  brush.strokeStyle = colour;
  brush.lineWidth = wide;
  brush.strokeRect(a - 1, y - 1, Math.max(3, b - a + 1), row.h + 2);
}

function drawKin(task) {
  const own = children.get(task) || [];
  let last = new Map();
  for (const child of own) { // one for each pixel is enough
    const row = rowFor(child), x = Math.round(xOf(T.start[child]));
    if (last.get(row) === x) continue;
    last.set(row, x);
    outline(child, theme.kin, 1.3);
  }
  if (T.parent[task] >= 0) outline(T.parent[task], theme.kin, 1.8);
  outline(task, theme.focus, 2.4);
}

function drawLanes() {
  fit(lanesCanvas, brush, view.width, view.height);
  const { width, height, gutter, top } = view;
  brush.font = FONT;
  brush.textBaseline = "middle";
  brush.fillStyle = theme.back;
  brush.fillRect(0, 0, width, height);
  // Every second lane on a ground of its own.
  let lane = -1;
  for (let i = 0; i < rows.length; i++) {
    if (rows[i].lane === lane) continue;
    lane = rows[i].lane;
    let j = i;
    while (j < rows.length && rows[j].lane === lane) j++;
    const from = rows[i].y - top - 3, to = (j < rows.length ? rows[j].y : contentHeight) - top - 3;
    if (to < AXIS || from > height) continue;
    if (lane % 2) { brush.fillStyle = theme.soft; brush.fillRect(0, from, width, to - from); }
  }
  const marks = ticks(width - gutter);
  brush.fillStyle = theme.line;
  for (const [t] of marks) brush.fillRect(Math.round(xOf(t)), AXIS, 1, height);
  brush.save();
  brush.beginPath();
  brush.rect(gutter, AXIS, width - gutter, height - AXIS);
  brush.clip();
  for (const row of rows) {
    const y = row.y - top;
    if (y + row.h >= AXIS && y <= height) drawRow(row, y);
  }
  for (const task of new Set([view.pinned, view.hovered])) if (task >= 0) drawKin(task);
  brush.restore();
  lane = -1;
  brush.textAlign = "left";
  for (const row of rows) {
    if (row.lane === lane) continue;
    lane = row.lane;
    const y = row.y - top + 8;
    if (y < AXIS || y > height + 8) continue;
    brush.fillStyle = theme.ink;
    brush.fillText(shorten(brush, data.lanes[lane].label, gutter - 10), 6, y);
  }
  brush.fillStyle = theme.back;
  brush.fillRect(0, 0, width, AXIS - 2);
  brush.fillStyle = theme.quiet;
  for (const [t, text] of marks) {
    const half = brush.measureText(text).width / 2, x = xOf(t);
    if (x - half < gutter - 30) brush.fillText(text, x, AXIS / 2);
    else if (x + half <= width - 2) brush.fillText(text, x - half, AXIS / 2);
    else brush.fillText(text, width - 2 - 2 * half, AXIS / 2);
  }
  if (!N) brush.fillText("no tasks", gutter + 8, Math.min(height - 10, AXIS + 14));
}

function drawOverview() {
  const width = overview.clientWidth, height = overview.clientHeight;
  fit(overview, strip, width, height);
  const left = view.gutter, room = width - left, base = height - 1, tall = height - 4;
  strip.clearRect(0, 0, width, height);
  strip.fillStyle = theme.soft;
  strip.fillRect(left, 0, room, height);
  strip.fillStyle = theme.busy;
  strip.beginPath();
  strip.moveTo(left, base);
  for (let i = 0; i < BINS; i++) {
    const y = base - tall * busy[i];
    strip.lineTo(left + (room * i) / BINS, y);
    strip.lineTo(left + (room * (i + 1)) / BINS, y);
  }
  strip.lineTo(width, base);
  strip.fill();
  strip.font = FONT;
  strip.fillStyle = theme.quiet;
  strip.textBaseline = "middle";
  strip.fillText(left < 80 ? "busy" : "lanes busy", 6, height / 2);
  const k = room / (span[1] - span[0]);
  const a = left + (view.from - span[0]) * k, b = left + (view.to - span[0]) * k;
  strip.globalAlpha = 0.6;
  strip.fillStyle = theme.back;
  strip.fillRect(left, 0, a - left, height);
  strip.fillRect(b, 0, width - b, height);
  strip.globalAlpha = 1;
  strip.strokeStyle = theme.focus;
  strip.lineWidth = 2;
  strip.strokeRect(a + 1, 1, Math.max(2, b - a - 2), height - 2);
}

function ask() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(draw);
}
function draw() {
  asked = false;
  view.top = scroller.scrollTop;
  drawLanes();
  drawOverview();
  const digits = view.to - view.from < (span[1] - span[0]) / 100 ? 7 : 4;
  $("window").textContent = time(view.from, digits) + " to " + time(view.to, digits);
}
