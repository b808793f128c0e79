// What the pointer, the keys and the tables do.
const tip = $("tip");

function look(from, to) {
  const whole = span[1] - span[0];
  const wide = Math.min(whole, Math.max(Math.min(LEAST, whole), to - from));
  from += (to - from - wide) / 2;
  from = Math.min(Math.max(span[0], from), span[1] - wide);
  view.from = from;
  view.to = from + wide;
  placePinned();
  ask();
}
function zoom(factor, x) {
  const t = x === undefined ? (view.from + view.to) / 2 : Math.max(view.from, timeAt(x));
  look(t - (t - view.from) * factor, t + (view.to - t) * factor);
}
const move = (us) => look(view.from + us, view.to + us);

// The task at a place: one that is drawn there, or the nearest within some pixels.
function found(x, y, slack) {
  if (x < view.gutter || y < AXIS) return null;
  const inside = y + view.top;
  const row = rows.find((r) => inside >= r.y - 1 && inside <= r.y + r.h);
  if (!row) return null;
  const t = timeAt(x), near = slack / scale();
  let best = null, least = Infinity;
  let i = search(row.start, t + near, true) - 1;
  for (let steps = 0; i >= 0 && steps < 5000 && row.reach[i] >= t - near; i--, steps++) {
    const off = Math.max(row.start[i] - t, t - row.end[i], 0);
    if (off < least && off <= near) {
      least = off;
      best = row.items[i];
      if (off === 0) break;
    }
  }
  if (best === null) return null;
  const pixel = 1 / scale();
  const close = search(row.start, t + pixel / 2, true) - search(row.start, t - pixel / 2, false);
  return { item: best, call: row.level < 0, close };
}

function fill(title, pairs) {
  tip.textContent = "";
  const head = document.createElement("strong");
  head.textContent = title;
  const list = document.createElement("dl");
  for (const [key, value, kind] of pairs) {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = key;
    dd.textContent = value;
    if (kind) dd.className = kind;
    list.append(dt, dd);
  }
  tip.append(head, list);
}
const laneText = (n) => {
  const lane = data.lanes[n];
  return lane.label + " (" + lane.host + ", process " + lane.pid + ", thread " + lane.thread + ")";
};
const callText = (c) => C.backend[c] + ", n_jobs=" + C.n_jobs[c];
function tell(task, close) {
  const c = T.call[task], own = children.get(task), pairs = [
    ["duration", time(T.end[task] - T.start[task])],
    ["start", time(T.start[task], 6)],
    ["lane", laneText(T.lane[task])],
    ["level", T.level[task]],
    ["in, out", bytes(T.in[task]) + ", " + bytes(T.out[task])],
    ["call", callText(c) + ", " + C.n_tasks[c] + " tasks"],
  ];
  if (T.parent[task] >= 0) pairs.push(["made by", data.names[T.name[T.parent[task]]]]);
  if (own) {
    const waited = (waits.get(task) || []).reduce((sum, [a, b]) => sum + b - a, 0);
    pairs.push(["made", own.length + " tasks, waited " + time(waited)]);
  }
  if (close > 1) pairs.push(["here", close + " tasks start in this pixel; zoom in"]);
  if (T.error[task] >= 0) pairs.push(["error", data.errors[T.error[task]], "bad"]);
  fill(data.names[T.name[task]], pairs);
}
function tellCall(c) {
  fill("Call", [
    ["duration", time(C.end[c] - C.start[c])],
    ["start", time(C.start[c], 6)],
    ["backend", callText(c)],
    ["tasks", C.n_tasks[c]],
  ]);
}
function tellLane(n) {
  const lane = data.lanes[n];
  fill(lane.label, [["host", lane.host], ["process", lane.pid], ["thread", lane.thread]]);
}

function placeTip(x, y) {
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), wide = window.innerWidth, high = window.innerHeight;
  let left = x + 14, top = y + 16;
  if (left + box.width > wide - 6) left = Math.max(6, Math.min(x - 14 - box.width, wide - 6 - box.width));
  if (top + box.height > high - 6) top = Math.max(6, y - 14 - box.height);
  tip.style.left = left + "px";
  tip.style.top = top + "px";
}
function placePinned() {
  if (view.pinned < 0) return;
  const { x, y } = centre(view.pinned), box = lanesCanvas.getBoundingClientRect();
  // Below the lanes where there is room, so that it hides none of them.
  placeTip(x, y);
  const room = window.innerHeight - 6 - tip.offsetHeight;
  if (box.bottom + 4 <= room) tip.style.top = Math.max(6, box.bottom + 4) + "px";
}
function pin(task) {
  view.pinned = task;
  tip.classList.toggle("pinned", task >= 0);
  if (task < 0) tip.hidden = true;
  else { tell(task, 1); placePinned(); }
  ask();
}
function hover(event) {
  const box = lanesCanvas.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  const hit = found(x, y, 3), task = hit && !hit.call ? hit.item : -1;
  if (task !== view.hovered) { view.hovered = task; ask(); }
  if (view.pinned >= 0) return; // its text stays
  if (task >= 0) tell(task, hit.close);
  else if (hit) tellCall(hit.item);
  else if (x < view.gutter && y > AXIS) {
    const row = rows.filter((r) => r.y - 3 <= y + view.top).pop();
    if (!row) { tip.hidden = true; return; }
    tellLane(row.lane);
  } else { tip.hidden = true; return; }
  placeTip(event.clientX, event.clientY);
}
function centre(task) {
  const box = lanesCanvas.getBoundingClientRect(), row = rowFor(task);
  const a = Math.max(view.gutter, xOf(T.start[task])), b = Math.min(view.width, xOf(T.end[task]));
  const x = Math.min(Math.max((a + b) / 2, view.gutter), view.width);
  return { x: box.left + x, y: box.top + row.y - scroller.scrollTop + row.h / 2 };
}
function bring(row) { // into what is scrolled to
  if (row.y - AXIS - 4 < scroller.scrollTop) scroller.scrollTop = row.y - AXIS - 4;
  const under = row.y + row.h + 8 - view.height;
  if (under > scroller.scrollTop) scroller.scrollTop = under;
  view.top = scroller.scrollTop;
}
function show(task) {
  const long = Math.max(T.end[task] - T.start[task], LEAST);
  bring(rowFor(task));
  look(T.start[task] - long * 0.6, T.start[task] + long * 1.6);
  pin(task);
}

const down = new Map();
let start = null;
lanesCanvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  lanesCanvas.setPointerCapture(event.pointerId);
  down.set(event.pointerId, event);
  start = { x: event.clientX, y: event.clientY, from: view.from, to: view.to, top: scroller.scrollTop, moved: down.size > 1 };
});
lanesCanvas.addEventListener("pointermove", (event) => {
  if (!down.has(event.pointerId)) { hover(event); return; }
  const before = [...down.values()];
  down.set(event.pointerId, event);
  if (down.size === 2) { // two fingers: what was between them stays between them
    const after = [...down.values()], left = lanesCanvas.getBoundingClientRect().left;
    const [a, b] = before.map((e) => e.clientX - left), [c, d] = after.map((e) => e.clientX - left);
    const gap = Math.max(8, Math.abs(c - d)), was = Math.max(8, Math.abs(a - b));
    move(((a + b) / 2 - (c + d) / 2) / scale());
    zoom(was / gap, (c + d) / 2);
    return;
  }
  const dx = event.clientX - start.x, dy = event.clientY - start.y;
  if (Math.abs(dx) + Math.abs(dy) > 4) start.moved = true;
  if (!start.moved || down.size > 1) return;
  lanesCanvas.classList.add("moving");
  const us = (dx / (view.width - view.gutter)) * (start.to - start.from);
  if (event.pointerType === "mouse") scroller.scrollTop = start.top - dy;
  look(start.from - us, start.to - us);
});
function up(event) {
  if (!down.delete(event.pointerId)) return;
  lanesCanvas.classList.remove("moving");
  if (event.type === "pointerup" && start && !start.moved) {
    const box = lanesCanvas.getBoundingClientRect();
    const slack = event.pointerType === "mouse" ? 3 : 10;
    const hit = found(event.clientX - box.left, event.clientY - box.top, slack);
    const task = hit && !hit.call ? hit.item : -1;
    pin(task === view.pinned ? -1 : task);
  }
  for (const other of down.values()) { // the finger that is left drags on from here
    start = { x: other.clientX, y: other.clientY, from: view.from, to: view.to, top: scroller.scrollTop, moved: true };
  }
}
lanesCanvas.addEventListener("pointerup", up);
lanesCanvas.addEventListener("pointercancel", up);
lanesCanvas.addEventListener("pointerleave", () => {
  view.hovered = -1;
  if (view.pinned < 0) tip.hidden = true;
  ask();
});
lanesCanvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 18 : event.deltaMode === 2 ? 300 : 1;
  const dx = (event.shiftKey ? event.deltaY : 0) * unit + event.deltaX * unit, dy = event.shiftKey ? 0 : event.deltaY * unit;
  if (dx) move(dx / scale());
  if (dy) zoom(Math.exp(Math.max(-1, Math.min(1, dy * 0.002))), event.clientX - lanesCanvas.getBoundingClientRect().left);
}, { passive: false });
lanesCanvas.addEventListener("dblclick", (event) => {
  zoom(0.4, event.clientX - lanesCanvas.getBoundingClientRect().left);
});

function step(by) {
  if (!N) return;
  const next = view.pinned < 0 ? (by > 0 ? 0 : N - 1) : Math.min(N - 1, Math.max(0, view.pinned + by));
  bring(rowFor(next));
  const wide = view.to - view.from;
  if (T.start[next] < view.from || T.start[next] > view.to) look(T.start[next] - wide / 4, T.start[next] + wide * 0.75);
  pin(next);
}
const shift = (part) => move((view.to - view.from) * part);
const keys = {
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "_": () => zoom(2),
  "0": () => look(...span), n: () => step(1), p: () => step(-1), Escape: () => pin(-1),
  ArrowLeft: () => shift(-0.2), ArrowRight: () => shift(0.2),
  ArrowUp: () => scroller.scrollBy(0, -40), ArrowDown: () => scroller.scrollBy(0, 40),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const here = document.activeElement === lanesCanvas || document.activeElement === document.body;
  const arrow = event.key.startsWith("Arrow");
  if (!keys[event.key] || (arrow && !here)) return;
  // With nothing to scroll in the picture these keys are the page's own.
  if ((event.key === "ArrowUp" || event.key === "ArrowDown") && contentHeight <= view.height) return;
  event.preventDefault();
  keys[event.key]();
});
$("in").addEventListener("click", () => zoom(0.5));
$("out").addEventListener("click", () => zoom(2));
$("all").addEventListener("click", () => look(...span));
$("legend").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const name = Number(button.dataset.place);
  view.name = view.name === name ? -1 : name;
  for (const other of $("legend").querySelectorAll("button")) {
    other.setAttribute("aria-pressed", String(Number(other.dataset.place) === view.name));
  }
  ask();
});
function slide(event) {
  if (event.type === "pointermove" && !(event.buttons & 1)) return;
  if (event.type === "pointerdown") overview.setPointerCapture(event.pointerId);
  const box = overview.getBoundingClientRect();
  const part = (event.clientX - box.left - view.gutter) / (box.width - view.gutter);
  const t = span[0] + part * (span[1] - span[0]), half = (view.to - view.from) / 2;
  look(t - half, t + half);
}
overview.addEventListener("pointerdown", slide);
overview.addEventListener("pointermove", slide);
document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest("button[data-task]");
  if (!button) return;
  lanesCanvas.scrollIntoView({ block: "center" });
  show(Number(button.dataset.task));
});
scroller.addEventListener("scroll", () => { view.top = scroller.scrollTop; placePinned(); ask(); });
window.addEventListener("scroll", placePinned, { passive: true });

$("picture").hidden = false;
readTheme();
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(); ask(); });
new ResizeObserver(layout).observe($("picture"));
window.addEventListener("resize", layout);
layout();
window.timeline = {
  ready: false,
  visible: () => [view.from, view.to],
  hovered: () => view.hovered,
  pinned: () => view.pinned,
  center_of: centre,
};
requestAnimationFrame(() => { window.timeline.ready = true; });
