// Small pictures beside the circuit: the map, the channels of the last seconds, the g-g diagram, what the car senses.

const SECONDS = 12; // that the channels show
const GRAVITY_RINGS = [0.5, 1, 1.5, 2];

// Fit the canvas to its element; returns its context in CSS pixels, cleared.
export function prepared(canvas) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

export class Map2D {
  constructor(canvas, facts) {
    this.canvas = canvas;
    this.facts = facts;
    const xs = facts.points.map(([x]) => x);
    const ys = facts.points.map(([, y]) => y);
    this.low = [Math.min(...xs), Math.min(...ys)];
    this.size = [Math.max(...xs) - this.low[0], Math.max(...ys) - this.low[1]];
    this.cursor = null; // number of a point, while places are chosen by keys
  }

  frame(width, height) {
    const scale = Math.min((width - 20) / this.size[0], (height - 20) / this.size[1]);
    const left = (width - this.size[0] * scale) / 2;
    const top = (height - this.size[1] * scale) / 2;
    return ([x, y]) => [left + (x - this.low[0]) * scale, height - top - (y - this.low[1]) * scale];
  }

  // marks: of contacts, {x, y}.
  draw(colours, cars, watched, marks = []) {
    const { context, width, height } = prepared(this.canvas);
    const at = this.frame(width, height);
    const { points } = this.facts;
    context.lineJoin = "round";
    const path = (style, size) => {
      context.strokeStyle = style;
      context.lineWidth = size;
      context.beginPath();
      points.forEach((point, k) => (k ? context.lineTo(...at(point)) : context.moveTo(...at(point))));
      context.closePath();
      context.stroke();
    };
    path(colours.edge, 7);
    path(colours.road, 5);
    const [a, b] = this.facts.start.map(at);
    const away = [b[0] - a[0], b[1] - a[1]].map((part) => (part * 6) / (Math.hypot(b[0] - a[0], b[1] - a[1]) || 1));
    const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    context.strokeStyle = colours.ink;
    context.lineWidth = 2.5;
    context.beginPath();
    context.moveTo(middle[0] - away[0], middle[1] - away[1]);
    context.lineTo(middle[0] + away[0], middle[1] + away[1]);
    context.stroke();
    for (const car of cars) {
      const [x, y] = at([car.x, car.y]);
      context.beginPath();
      context.arc(x, y, car.number === watched ? 6 : 4.5, 0, 7);
      context.fillStyle = car.colour;
      context.fill();
      context.lineWidth = car.number === watched ? 2.5 : 1;
      context.strokeStyle = car.number === watched ? colours.ink : colours.paper;
      context.stroke();
    }
    for (const mark of marks) {
      context.strokeStyle = colours.brake;
      context.lineWidth = 2.5;
      context.beginPath();
      context.arc(...at([mark.x, mark.y]), 9, 0, 7);
      context.stroke();
    }
    if (this.cursor !== null) {
      const [x, y] = at(points[this.cursor]);
      context.strokeStyle = colours.ink;
      context.lineWidth = 2;
      context.strokeRect(x - 7, y - 7, 14, 14);
    }
  }

  // Arc length [m] of the place nearest to a click.
  placeAt(x, y) {
    const at = this.frame(this.canvas.clientWidth, this.canvas.clientHeight);
    let best = 0;
    let least = Infinity;
    this.facts.points.forEach((point, k) => {
      const [px, py] = at(point);
      const away = (px - x) ** 2 + (py - y) ** 2;
      if (away < least) [best, least] = [k, away];
    });
    return this.facts.s[best];
  }

  move(steps) {
    const count = this.facts.points.length;
    const stride = Math.max(1, Math.round(count / 60));
    this.cursor = ((this.cursor ?? 0) + steps * stride + count) % count;
  }
}

export class Channels {
  constructor() {
    this.rows = [];
    this.episode = null;
  }

  add(state) {
    const last = this.rows[this.rows.length - 1];
    if (this.episode !== state.episode || (last && state.time < last.time)) this.rows = [];
    this.episode = state.episode;
    if (last && last.time === state.time && this.rows.length) return;
    this.rows.push(state);
    while (this.rows.length && this.rows[0].time < state.time - SECONDS) this.rows.shift();
  }

  draw(canvas, colours, { scale, unit, top }) {
    const { context, width, height } = prepared(canvas);
    const rows = this.rows;
    const now = rows.length ? rows[rows.length - 1].time : 0;
    const names = [
      ["speed", unit, 0, top * scale, [["v", scale, colours.line]]],
      ["steering", "", -1, 1, [["steering_command", -1, colours.line]]],
      ["pedals", "", -1, 1, [["throttle_command", 1, colours.drive]]],
    ];
    const heights = [0.42, 0.29, 0.29];
    let y = 0;
    context.font = "11px system-ui, sans-serif";
    names.forEach(([name, what, low, high, lines], k) => {
      const size = heights[k] * height;
      const [bottom, room] = [y + size - 4, size - 10];
      const at = (value) => bottom - ((value - low) / (high - low)) * room;
      context.fillStyle = colours.plot;
      context.fillRect(0, y + 2, width, size - 4);
      context.strokeStyle = colours.grid;
      context.lineWidth = 1;
      context.beginPath();
      for (const mark of low < 0 ? [0] : [high / 2]) {
        context.moveTo(0, at(mark));
        context.lineTo(width, at(mark));
      }
      context.stroke();
      for (const [channel, factor, colour] of lines) {
        if (name === "pedals") {
          this.bars(context, colours, at, width, now);
          continue;
        }
        context.strokeStyle = colour;
        context.lineWidth = 1.8;
        context.beginPath();
        rows.forEach((row, n) => {
          const x = width * (1 - (now - row.time) / SECONDS);
          if (n) context.lineTo(x, at(row[channel] * factor));
          else context.moveTo(x, at(row[channel] * factor));
        });
        context.stroke();
      }
      context.fillStyle = colours.faint;
      context.fillText(name + (what ? ` [${what}]` : ""), 6, y + 14);
      y += size;
    });
  }

  bars(context, colours, at, width, now) {
    this.rows.forEach((row, n) => {
      const next = this.rows[n + 1];
      const x = width * (1 - (now - row.time) / SECONDS);
      const end = next ? width * (1 - (now - next.time) / SECONDS) : width;
      const value = row.throttle_command;
      context.fillStyle = value >= 0 ? colours.drive : colours.brake;
      context.fillRect(x, Math.min(at(0), at(value)), Math.max(1, end - x + 0.5), Math.abs(at(0) - at(value)));
    });
  }

  drawForces(canvas, colours, friction) {
    const { context, width, height } = prepared(canvas);
    const most = Math.max(1, friction * 1.15);
    const [x, y] = [width / 2, height / 2];
    const radius = Math.min(x, y) - 12;
    context.font = "10px system-ui, sans-serif";
    for (const ring of GRAVITY_RINGS.filter((value) => value <= most)) {
      context.strokeStyle = colours.grid;
      context.beginPath();
      context.arc(x, y, (ring / most) * radius, 0, 7);
      context.stroke();
      context.fillStyle = colours.faint;
      context.fillText(`${ring} g`, x + 3, y - (ring / most) * radius - 2);
    }
    const at = (row) => [x - (row.lateral_g / most) * radius, y - (row.longitudinal_g / most) * radius];
    this.rows.forEach((row, n) => {
      const age = 1 - n / this.rows.length;
      context.globalAlpha = 0.15 + 0.5 * (1 - age);
      context.fillStyle = colours.line;
      const [px, py] = at(row);
      context.fillRect(px - 1.2, py - 1.2, 2.4, 2.4);
    });
    context.globalAlpha = 1;
    const last = this.rows[this.rows.length - 1];
    if (last) {
      context.fillStyle = colours.brake;
      context.beginPath();
      context.arc(...at(last), 4.5, 0, 7);
      context.fill();
    }
    context.fillStyle = colours.faint;
    context.fillText("g-g", 6, 13);
  }
}

// Rays and preview points around the car, which drives upwards.
export function drawSenses(canvas, colours, senses, pose) {
  const { context, width, height } = prepared(canvas);
  if (!senses) return;
  const far = Math.max(1, ...senses.rays.map(([x, y]) => Math.hypot(x, y)));
  const scale = (height - 26) / far;
  const at = ([ahead, left]) => [width / 2 - left * scale, height - 14 - ahead * scale];
  const origin = at([0, 0]);
  context.lineWidth = 1.5;
  for (const ray of senses.rays) {
    context.strokeStyle = colours.line;
    context.globalAlpha = 0.55;
    context.beginPath();
    context.moveTo(...origin);
    context.lineTo(...at(ray));
    context.stroke();
    context.globalAlpha = 1;
    context.fillStyle = colours.line;
    context.beginPath();
    context.arc(...at(ray), 2.6, 0, 7);
    context.fill();
  }
  const [cos, sin] = [Math.cos(pose.yaw), Math.sin(pose.yaw)];
  context.fillStyle = colours.brake;
  for (const [x, y] of senses.preview) {
    const [dx, dy] = [x - pose.x, y - pose.y];
    context.beginPath();
    context.arc(...at([dx * cos + dy * sin, dy * cos - dx * sin]), 3, 0, 7);
    context.fill();
  }
  context.fillStyle = colours.ink;
  context.beginPath();
  context.moveTo(origin[0], origin[1] - 9);
  context.lineTo(origin[0] - 5, origin[1] + 5);
  context.lineTo(origin[0] + 5, origin[1] + 5);
  context.fill();
}

// The picture of the policy's own camera.
export function drawPicture(canvas, picture) {
  const { height, width, channels, bytes } = picture;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    for (let c = 0; c < 3; c++) image.data[4 * k + c] = bytes[channels * k + (channels === 1 ? 0 : c)];
    image.data[4 * k + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}
