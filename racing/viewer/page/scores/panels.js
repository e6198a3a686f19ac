// Channels over time, below each other: what is planned, and what each driver has done.
import { prepared } from "racing-viewer/plots.js";

const LEFT = 46; // [px] for the numbers of the axes
const BELOW = 22; // [px] for those of time
const GAP = 8; // [px] between panels
const FIRST_SHARE = 2.2; // how much taller the first panel is
const LEAST = 0.2; // range of an axis

// panels: lists of columns. units, plan: by column. rows: of each driver, by column. window: [s] from, to. now: rows that
// are driven. seen: rows of the plan that a driver knows of.
export function drawPanels(canvas, style, { panels, units, plan, rows, dt, window: [from, to], now, seen, colours }) {
  const ink = Object.fromEntries(["ink", "faint", "edge", "plot", "grid", "line", "card"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  const { context, width, height } = prepared(canvas);
  const at = (seconds) => LEFT + ((seconds - from) / (to - from)) * (width - LEFT - 6);
  const shares = panels.map((_, k) => (k ? 1 : FIRST_SHARE));
  const each = (height - BELOW - GAP * panels.length) / shares.reduce((a, b) => a + b, 0);
  context.font = "12px system-ui, sans-serif";
  context.lineJoin = "round";
  let top = 4;
  panels.forEach((columns, k) => {
    const room = each * shares[k];
    const box = { top, room, ...rangeOf(columns, plan, rows) };
    frame(context, box, { width, ink, from, to, at });
    context.save();
    context.beginPath();
    context.rect(LEFT, top, width - LEFT - 6, room);
    context.clip();
    for (const name of columns) if (plan[name]) planned(context, box, { values: plan[name], dt, at, seen, now, ink });
    rows.forEach((own, driver) => {
      for (const name of columns) if (own[name]) line(context, box, own[name], (n) => at((n + 0.5) * dt), colours[driver], 2);
    });
    context.restore();
    context.fillStyle = ink.ink;
    const unit = written(units[columns[0]]);
    context.fillText(columns.map((name) => name.replace("_", " ")).join(", ") + (unit ? ` [${unit}]` : ""), LEFT + 8, top + 16);
    top += room + GAP;
  });
  const x = at(now * dt);
  context.strokeStyle = ink.faint;
  context.setLineDash([4, 4]);
  context.beginPath();
  context.moveTo(x, 4);
  context.lineTo(x, top - GAP);
  context.stroke();
  context.setLineDash([]);
}

// A unit as it is read.
export function written(unit) {
  return unit === "1" ? "" : unit.replace("^2", "²");
}

function rangeOf(columns, plan, rows) {
  const all = columns.flatMap((name) => [...(plan[name] ?? []), ...rows.flatMap((own) => own[name] ?? [])]);
  let [low, high] = [Infinity, -Infinity];
  for (const value of all) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (!Number.isFinite(low)) [low, high] = [-LEAST, LEAST];
  const spare = 0.08 * Math.max(high - low, LEAST);
  return { low: low - spare, high: high + 3 * spare }; // above is the name
}

function frame(context, { top, room, low, high }, { width, ink, from, to, at }) {
  context.fillStyle = ink.plot;
  context.fillRect(LEFT, top, width - LEFT - 6, room);
  context.lineWidth = 1;
  const step = niceStep((high - low) / Math.max(2, room / 45));
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
    const y = top + room - ((value - low) / (high - low)) * room;
    context.strokeStyle = Math.abs(value) < step / 10 ? ink.faint : ink.grid;
    context.beginPath();
    context.moveTo(LEFT, y);
    context.lineTo(width - 6, y);
    context.stroke();
    context.fillStyle = ink.faint;
    if (y > top + 6 && y < top + room - 4) context.fillText(String(Math.round(value * 100) / 100 || 0), LEFT - 6, y);
  }
  const often = niceStep((to - from) / Math.max(3, width / 110));
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  for (let seconds = Math.ceil(from / often) * often; seconds <= to; seconds += often) {
    if (seconds < 0) continue;
    context.strokeStyle = ink.grid;
    context.beginPath();
    context.moveTo(at(seconds), top);
    context.lineTo(at(seconds), top + room);
    context.stroke();
    context.fillStyle = ink.faint;
    const text = `${Math.round(seconds * 10) / 10} s`;
    context.fillText(text, Math.min(at(seconds), width - 18), context.canvas.clientHeight - 6);
  }
  context.textAlign = "left";
}

// What is planned: of what a driver knows of, and beyond.
function planned(context, box, { values, dt, at, seen, ink }) {
  context.globalAlpha = 0.35;
  line(context, box, values, (n) => at((n + 0.5) * dt), ink.faint, 3);
  context.globalAlpha = 1;
  line(context, box, values.slice(0, seen), (n) => at((n + 0.5) * dt), ink.faint, 3);
}

function line(context, { top, room, low, high }, values, at, colour, size) {
  context.strokeStyle = colour;
  context.lineWidth = size;
  context.beginPath();
  values.forEach((value, n) => {
    const y = top + room - ((value - low) / (high - low)) * room;
    if (n) context.lineTo(at(n), y);
    else context.moveTo(at(n), y);
  });
  context.stroke();
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5].find((one) => one * power >= least) ?? 10);
}
