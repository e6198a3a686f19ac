// The connection to cars: states come in, poses between the last two are interpolated.
import { AFTER, Connection } from "racing-viewer/connection.js";

const HEADER = AFTER + 3; // floats before the cars' numbers, see racing/viewer/cars/messages.py
const FIELDS =
  "time x y yaw steer v steering_command throttle_command longitudinal_g lateral_g s lateral heading_error lap clock last_lap best_lap " +
  "behind_reference behind_best sector_1 sector_2 sector_3 episode ended position gap touches";
export const STATE = FIELDS.split(" "); // racing.viewer.cars.dashboard.STATE

export class Link extends Connection {
  constructor(on) {
    super(on);
    this.cars = new Map(); // number -> {before, now, arrived}
    this.ghosts = [];
    this.senses = null;
  }

  greeted() { this.cars.clear(); }

  take(kind, values, data) {
    if (kind === 1) this.takeState(values);
    else if (kind === 2) this.takeSenses(data);
    return kind === 1;
  }

  takeState(values) {
    this.takeHead(values);
    const [count, size, ghosts] = values.subarray(AFTER, HEADER);
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
