// The connection to the session: commands go out, states come in, poses between the last two are interpolated.

const HEADER = 9; // floats before the cars' numbers, see racing/viewer/messages.py
const FIELDS =
  "time x y yaw steer v steering_command throttle_command longitudinal_g lateral_g s lateral heading_error lap clock last_lap best_lap " +
  "behind_reference behind_best sector_1 sector_2 sector_3 episode ended";
export const STATE = FIELDS.split(" "); // racing.viewer.car.STATE
const RETRY = 1000; // [ms]

export class Link {
  // on: {hello(facts), event(facts), state(header), connected(yes)}
  constructor(on) {
    this.on = on;
    this.cars = new Map(); // number -> {before, now, arrived}
    this.ghosts = [];
    this.head = { time: 0, rate: 1, share: 1, paused: false, driving: false };
    this.senses = null;
    this.messages = 0;
    this.closed = false;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/racing/link${location.search}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (message) => this.receive(message.data);
    this.socket.onclose = (event) => {
      this.on.connected(false, this.refused ?? (event.code === 4000 ? event.reason : ""));
      if (!this.closed && !this.refused) this.retry = setTimeout(() => this.connect(), RETRY);
    };
  }

  close() {
    this.closed = true;
    clearTimeout(this.retry);
    this.socket.close();
  }

  say(what, values) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ do: what, ...values }));
  }

  receive(data) {
    this.messages += 1;
    if (typeof data === "string") {
      const facts = JSON.parse(data);
      if (facts.event === "hello") {
        this.cars.clear();
        this.on.connected(true, "");
        this.on.hello(facts);
      } else if (facts.event === "refused") this.refused = facts.text; // to ask again would change nothing
      else this.on.event(facts);
      return;
    }
    const kind = new Float32Array(data, 0, 1)[0];
    if (kind === 1) this.takeState(new Float32Array(data));
    else if (kind === 2) this.takeSenses(data);
  }

  takeState(values) {
    const [, time, rate, share, paused, driving, count, size, ghosts] = values;
    this.head = { time, rate, share, paused: paused > 0, driving: driving > 0 };
    const numbers = values.subarray(HEADER, HEADER + count);
    const there = new Set(numbers);
    for (const number of this.cars.keys()) if (!there.has(number)) this.cars.delete(number);
    numbers.forEach((number, k) => {
      const first = HEADER + count + k * size;
      const state = Object.fromEntries(STATE.map((name, i) => [name, values[first + i]]));
      const known = this.cars.get(number);
      if (!known || state.time !== known.now.time || state.episode !== known.now.episode) {
        const jumps = !known || known.now.episode !== state.episode;
        this.cars.set(number, { before: jumps ? state : known.now, now: state, arrived: performance.now() });
      } else known.now = state;
    });
    const first = HEADER + count * (1 + size);
    const after = [];
    for (let k = 0; k < ghosts; k++) {
      const [x, y, yaw, v, steer] = values.subarray(first + 5 * k, first + 5 * k + 5);
      after.push({ x, y, yaw, v, steer });
    }
    const old = this.ghosts;
    this.ghosts = after.map((now, k) => {
      const before = old[k] && Math.hypot(old[k].now.x - now.x, old[k].now.y - now.y) < 20 ? old[k].now : now;
      const passed = old[k] ? performance.now() - old[k].arrived : 50;
      return { before, now, arrived: performance.now(), lasts: Math.min(200, Math.max(10, passed)) };
    });
    this.on.state(this.head);
  }

  takeSenses(data) {
    const [, car, rays, points, height, width, channels] = new Float32Array(data, 0, 7);
    const values = new Float32Array(data, 28, 2 * (rays + points));
    const picture = height ? new Uint8Array(data, 28 + 8 * (rays + points)) : null;
    this.senses = {
      car,
      rays: Array.from({ length: rays }, (_, k) => [values[2 * k], values[2 * k + 1]]),
      preview: Array.from({ length: points }, (_, k) => [values[2 * (rays + k)], values[2 * (rays + k) + 1]]),
      picture: picture && { height, width, channels, bytes: picture },
    };
  }

  // Where a car is to be drawn now: one of its own steps behind what is known.
  pose(number) {
    const car = this.cars.get(number);
    if (!car) return null;
    const lasts = (1000 * (car.now.time - car.before.time)) / Math.max(0.05, this.head.rate * this.head.share);
    return between(car, lasts);
  }

  ghostPose(k) {
    return this.ghosts[k] ? between(this.ghosts[k], this.ghosts[k].lasts) : null;
  }
}

function between({ before, now, arrived }, lasts) {
  const share = lasts > 0 ? Math.min(1, (performance.now() - arrived) / lasts) : 1;
  const mix = (name) => before[name] + share * (now[name] - before[name]);
  const turn = ((now.yaw - before.yaw + 3 * Math.PI) % (2 * Math.PI)) - Math.PI;
  return { x: mix("x"), y: mix("y"), yaw: before.yaw + share * turn, steer: mix("steer"), v: mix("v") };
}
