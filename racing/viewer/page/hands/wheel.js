// The dialog in which a wheel or gamepad is set up: methods of view.js.
import { Calibration, keep, label, read, settingOf, STEPS } from "racing-viewer/hands/calibration.js";
import { bar, limited } from "racing-viewer/figures.js";

export const WHEEL = {
  setUp() {
    if (this.driving && !this.paused) this.link.say("pause", { on: true });
    this.calibration = null;
    this.wheel = { id: "", steps: STEPS.length };
    if (!this.$refs.wheel.open) this.$refs.wheel.showModal();
  },
  // With each picture, for gamepads are asked, they don't tell.
  settingUp() {
    const pad = this.hands.pad();
    if (!pad || (this.calibration && this.calibration.id !== pad.id)) {
      if (this.wheel.id) this.setUp(); // it was pulled out
      if (!pad) return;
    }
    this.calibration ??= Vue.markRaw(new Calibration(pad));
    const { calibration } = this;
    const another = this.wheel.id !== pad.id || this.wheel.done !== calibration.done; // part of the dialog
    calibration.sample(pad);
    const { found, now, step, done } = calibration;
    const told = { id: pad.id, step, done, asked: STEPS[step]?.[1] ?? "", complete: calibration.complete, kept: this.wheel.kept ?? settingOf(pad.id) !== null,
      found: found === null ? "nothing moves yet" : `${label(pad, found)}: ${now[found].toFixed(2)}`, deadZone: this.wheel.deadZone ?? calibration.setting.deadZone };
    for (const [name, value] of Object.entries(told)) if (this.wheel[name] !== value) this.wheel[name] = value;
    if (another) this.$nextTick(() => (done ? this.$refs.wheelZone : this.$refs.wheelNext)?.focus());
    if (!done) {
      if (this.$refs.wheelBar) bar(this.$refs.wheelBar, found === null ? 0 : limited(now[found]), "var(--accent)");
      return;
    }
    const { steer, pedals } = read(pad, { ...calibration.setting, deadZone: this.wheel.deadZone });
    if (!this.$refs.wheelSteer) return;
    bar(this.$refs.wheelSteer, -steer, "var(--accent)");
    bar(this.$refs.wheelPedals, pedals, pedals >= 0 ? "#56b4e9" : "#e69f00");
  },
  setUpNext() {
    if (!this.calibration?.complete) return;
    this.calibration.next(this.hands.pad());
  },
  setUpSave() {
    keep(this.wheel.id, { ...this.calibration.setting, deadZone: this.wheel.deadZone });
    this.$refs.wheel.close();
    this.note("The wheel is set up", 3000);
  },
  setUpForget() {
    keep(this.wheel.id, null);
    this.$refs.wheel.close();
    this.note("The setting is forgotten", 3000);
  },
  setUpEnded() {
    this.calibration = null;
    this.hands.forget();
  },
};
