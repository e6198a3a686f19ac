// Which axis of a wheel or gamepad is what, how far it goes, and where it rests: seen while its driver moves it.

const LEAST = 0.3; // of an axis, -1 to 1, that is a movement
const key = (id) => `racing.wheel.${id}`;
const limited = (value, low, high) => Math.max(low, Math.min(high, value));

export const STEPS = [
  ["steer", "Turn the wheel all the way to the left, then to the right, then back to the middle."],
  ["throttle", "Press the throttle all the way, then let go."],
  ["brake", "Press the brake all the way, then let go."],
];
export const DEAD_ZONE = 0.03; // share of the way to one side

// All that can be moved: axes, then buttons with how far they are pressed.
const inputs = (pad) => [...pad.axes, ...pad.buttons.map((button) => button.value ?? 0)];
export const label = (pad, index) => (index < pad.axes.length ? `axis ${index + 1}` : `button ${index - pad.axes.length + 1}`);

// What was set up for a gamepad of that name, null: nothing.
// steer {index, left, middle, right}, throttle and brake {index, rest, full}: positions as the gamepad tells them; deadZone.
export function settingOf(id) {
  try {
    const found = JSON.parse(localStorage.getItem(key(id)));
    const sound = found && STEPS.every(([name]) => Object.values(found[name]).every(Number.isFinite)) && Number.isFinite(found.deadZone);
    return sound ? found : null;
  } catch {
    return null; // somebody else's, or damaged
  }
}

export function keep(id, setting) {
  if (setting) localStorage.setItem(key(id), JSON.stringify(setting));
  else localStorage.removeItem(key(id));
}

// Steering, left positive, and pedals, brake negative, each -1 to 1.
export function read(pad, { steer, throttle, brake, deadZone }) {
  const values = inputs(pad);
  const away = (values[steer.index] ?? steer.middle) - steer.middle;
  const left = away * (steer.left - steer.middle) > 0;
  const share = Math.min(1, Math.abs(away / ((left ? steer.left : steer.right) - steer.middle)));
  const turned = Math.max(0, share - deadZone) / (1 - deadZone);
  const pressed = ({ index, rest, full }) => {
    const way = limited(((values[index] ?? rest) - rest) / (full - rest), 0, 1);
    return Math.max(0, way - deadZone) / (1 - deadZone);
  };
  return { steer: left ? turned : -turned, pedals: pressed(throttle) - pressed(brake) };
}

// What was seen of an input: its range; which way it went first; how often it went another way, and where it last turned.
const still = (value) => ({ low: value, high: value, first: 0, ways: 0, way: 0, turn: value });

// Watches a gamepad while its driver does what STEPS say.
export class Calibration {
  constructor(pad) {
    this.id = pad.id;
    this.step = 0;
    this.setting = { deadZone: DEAD_ZONE };
    this.begin(pad);
  }

  get done() { return this.step >= STEPS.length; }

  begin(pad) {
    this.now = inputs(pad);
    this.seen = this.now.map(still);
    this.found = null; // number of what moves
  }

  sample(pad) {
    this.now = inputs(pad);
    if (this.done) return;
    const steering = this.setting.steer?.index;
    let most = LEAST;
    this.now.forEach((value, k) => {
      const one = (this.seen[k] ??= still(value));
      [one.low, one.high] = [Math.min(one.low, value), Math.max(one.high, value)];
      if (one.way && (value - one.turn) * one.way >= 0) one.turn = value;
      else if (Math.abs(value - one.turn) > LEAST) {
        one.way = Math.sign(value - one.turn);
        one.first ||= one.way;
        Object.assign(one, { turn: value, ways: one.ways + 1 });
      }
      if (one.high - one.low > most && k !== steering) [most, this.found] = [one.high - one.low, k];
    });
  }

  // Whether all that a step asks for was seen: there and back, of the wheel to both sides.
  get complete() {
    return !this.done && this.found !== null && this.seen[this.found].ways >= (STEPS[this.step][0] === "steer" ? 3 : 2);
  }

  next(pad) {
    const { low, high, first } = this.seen[this.found];
    const [index, now, name] = [this.found, this.now[this.found], STEPS[this.step][0]];
    if (name === "steer") this.setting.steer = { index, middle: now, left: first > 0 ? high : low, right: first > 0 ? low : high };
    else this.setting[name] = { index, rest: now, full: high - now > now - low ? high : low };
    this.step += 1;
    this.begin(pad);
  }
}
