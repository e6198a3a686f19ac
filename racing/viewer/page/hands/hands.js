// What a person does at the wheel: keys, a gamepad or wheel, fingers. Steering left and throttle are positive.

import { read, settingOf } from "racing-viewer/hands/calibration.js";

const KEYS = {
  ArrowLeft: ["left"], KeyA: ["left"], ArrowRight: ["right"], KeyD: ["right"],
  ArrowUp: ["faster"], KeyW: ["faster"], ArrowDown: ["slower"], KeyS: ["slower"],
};
const AGAIN = 100; // [ms] after which it is said again
const SMALLEST = 0.004; // change of an axis that is said

export class Hands {
  constructor(link) {
    this.link = link;
    this.pressed = new Set();
    this.touch = null;
    this.headset = null;
    this.said = "";
    this.when = 0;
    this.source = "keys";
    this.deadZone = Number(localStorage.getItem("racing.deadZone") ?? 0.06);
    this.down = (event) => this.key(event, true);
    this.up = (event) => this.key(event, false);
    this.away = () => this.pressed.clear();
    window.addEventListener("keydown", this.down);
    window.addEventListener("keyup", this.up);
    window.addEventListener("blur", this.away);
    this.active = false;
  }

  close() {
    window.removeEventListener("keydown", this.down);
    window.removeEventListener("keyup", this.up);
    window.removeEventListener("blur", this.away);
  }

  key(event, pressed) {
    const meaning = KEYS[event.code];
    if (!meaning || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("dialog")) return;
    if (!this.active) {
      this.pressed.delete(meaning[0]);
      return;
    }
    event.preventDefault();
    if (pressed) this.pressed.add(meaning[0]);
    else this.pressed.delete(meaning[0]);
    this.send();
  }

  // Fingers: x from -1 (left) to 1 (right), pedal from -1 to 1; null: lifted.
  finger(values) {
    this.touch = values;
    this.send();
  }

  // Of a headset: x from -1 (left) to 1 (right), pedal from -1 to 1; null: it was taken off.
  controllers(values) {
    this.headset = values;
    if (values) this.send();
    else if (this.source === "vr") this.source = "keys";
  }

  // The first gamepad or wheel that is there.
  pad() {
    return [...(navigator.getGamepads?.() ?? [])].find((one) => one?.connected) ?? null;
  }

  // Left stick and triggers, or both axes of a stick, where nothing else was set up.
  usual(pad) {
    const pedals = pad.buttons.length > 7 ? (pad.buttons[7].value || 0) - (pad.buttons[6].value || 0) : -this.clear(pad.axes[1] ?? 0);
    return { steer: -this.clear(pad.axes[0] ?? 0), pedals };
  }

  settingFor(pad) {
    if (!this.known || this.known.id !== pad.id) this.known = { id: pad.id, setting: settingOf(pad.id) }; // not read with each picture
    return this.known.setting;
  }

  forget() { this.known = null; } // it was set up anew

  wanted() {
    const pad = this.pad();
    const of = (name) => (this.pressed.has(name) ? 1 : 0);
    if (this.pressed.size) {
      return { steer: of("left") - of("right"), throttle: of("slower") ? -1 : of("faster"), keys: true, source: "keys" };
    }
    if (this.headset && (this.source === "vr" || this.headset.some(Boolean))) return { steer: -this.headset[0], throttle: this.headset[1], keys: false, source: "vr" };
    if (this.touch) return { steer: -this.touch[0], throttle: this.touch[1], keys: false, source: "touch" };
    if (pad) {
      const setting = this.settingFor(pad);
      const { steer, pedals } = setting ? read(pad, setting) : this.usual(pad);
      if (this.source === "gamepad" || steer || pedals) return { steer, throttle: pedals, keys: false, source: "gamepad" };
    }
    return { steer: 0, throttle: 0, keys: this.source === "keys", source: this.source };
  }

  clear(value) {
    const beyond = Math.abs(value) - this.deadZone;
    return beyond <= 0 ? 0 : Math.min(1, beyond / (1 - this.deadZone)) * Math.sign(value);
  }

  // Also called with each picture, for gamepads are asked, they don't tell.
  send() {
    if (!this.active) return;
    const { steer, throttle, keys, source } = this.wanted();
    this.source = source;
    const limit = (value) => Math.max(-1, Math.min(1, Math.round(value / SMALLEST) * SMALLEST));
    const values = { steer: limit(steer) || 0, throttle: limit(throttle) || 0, keys };
    const now = performance.now();
    const text = JSON.stringify(values);
    if (text === this.said && now - this.when < 10 * AGAIN) return;
    if (!keys && now - this.when < AGAIN / 4) return;
    [this.said, this.when] = [text, now];
    this.link.say("hands", values);
  }
}
