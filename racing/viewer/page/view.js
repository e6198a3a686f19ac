// The page: the circuit in three dimensions, what the cars do, and all that can be asked for.
import { THREE } from "nicegui-scene";
import { STEPS } from "racing-viewer/hands/calibration.js";
import { CAMERAS, Cameras } from "racing-viewer/cameras.js";
import { makeCircuit } from "racing-viewer/circuit.js";
import { COLOURS, HUMAN } from "racing-viewer/colours.js";
import { bar, clock, limited, signed } from "racing-viewer/figures.js";
import { Hands } from "racing-viewer/hands/hands.js";
import { Link } from "racing-viewer/link.js";
import { makeCar } from "racing-viewer/models.js";
import { Channels, drawPicture, drawSenses, Map2D } from "racing-viewer/plots.js";
import { ENDINGS, RACE, STOOD } from "racing-viewer/race.js";
import { TEMPLATE } from "racing-viewer/template.js";
import { offersVR, VR } from "racing-viewer/vr.js";
import { WHEEL } from "racing-viewer/hands/wheel.js";

const GHOSTS = [["reference lap", "#ffffff"], ["best lap driven here", "#f0e442"]];
const SLOW_FRAME = 45; // [ms] on average, above which the picture gets coarser
const THEMES = { light: ["#bcd3e2", "#d9e6ee", "#8aa595", 1], dark: ["#1a2533", "#2b3b4d", "#26343d", 0.42] }; // sky, haze, hills, light
const kept = (name, usual) => localStorage.getItem(`racing.${name}`) ?? usual;

export default {
  template: TEMPLATE,
  data() {
    return {
      facts: null, cars: [], cameras: CAMERAS, rates: [1], rate: 1, paused: false, driving: false, connected: false,
      camera: kept("camera", "chase"), units: kept("units", "km/h"), senses: kept("senses", "off") === "on",
      theme: kept("theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"),
      watched: 0, help: false, ghosts: [true, true], touch: matchMedia("(pointer: coarse)").matches, source: "keys", hasPicture: false, vrOffered: false, vrOn: false,
      wheel: { id: "", steps: STEPS.length }, // that is being set up
      race: null, contacts: [], results: [], // of a race: its laps; its last contacts; how the one before ended
    };
  },
  computed: {
    scale() { return this.units === "km/h" ? 3.6 : 1; },
    listed() {
      const there = this.cars.filter((car) => car.kind !== "human" || this.driving);
      return this.race ? there.sort((a, b) => (a.position || 99) - (b.position || 99)) : there;
    },
    latency() { return this.cars.find((car) => car.kind === "human")?.period ?? 0; }, // [s] from what is done to what it does
  },
  mounted() {
    this.messages = 0;
    this.frames = 0;
    this.channels = new Channels();
    this.models = new Map();
    this.ghostModels = [];
    this.marks = []; // of contacts
    this.unseated = false; // whether the race is over for the person
    this.noteUntil = 0;
    this.renderer = this.makeRenderer();
    this.link = new Link({
      hello: (facts) => this.greeted(facts),
      event: (event) => this.heard(event),
      state: (head) => this.took(head),
      connected: (yes, why) => this.linked(yes, why),
    });
    this.hands = new Hands(this.link);
    this.onKey = (event) => this.key(event);
    this.onHide = () => document.hidden && !this.vrOn && this.away();
    this.away = () => this.driving && !this.paused && this.link.say("pause", { on: true });
    window.addEventListener("keydown", this.onKey);
    document.addEventListener("visibilitychange", this.onHide);
    this.alive = true;
    this.last = performance.now();
    const loop = () => {
      if (!this.alive) return;
      if (!this.vrOn) this.frame(); // else the headset says when
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
    this.onHeadset = async () => (this.vrOffered = this.renderer !== null && (await offersVR()));
    navigator.xr?.addEventListener?.("devicechange", this.onHeadset);
    this.onHeadset();
    window.racing = { state: () => this.told() };
  },
  unmounted() {
    this.alive = false;
    this.link.close();
    this.hands.close();
    window.removeEventListener("keydown", this.onKey);
    document.removeEventListener("visibilitychange", this.onHide);
    navigator.xr?.removeEventListener?.("devicechange", this.onHeadset);
    this.vr?.dispose();
    this.renderer?.dispose();
  },
  methods: {
    ...RACE,
    ...WHEEL,
    makeRenderer() {
      try {
        const renderer = new THREE.WebGLRenderer({ canvas: this.$refs.canvas, antialias: true, preserveDrawingBuffer: false });
        renderer.shadowMap.enabled = true;
        renderer.shadowMap.type = THREE.PCFSoftShadowMap;
        this.ratio = Math.min(2, window.devicePixelRatio || 1);
        return renderer;
      } catch {
        this.note("This browser shows no WebGL: the map and the channels still work.", 1e9);
        return null;
      }
    },
    greeted(facts) {
      const before = this.facts;
      this.facts = facts;
      if (this.driving) this.driven(false); // in the session that was lost
      this.cars = facts.cars.map((car, k) => ({ ...car, colour: car.kind === "human" ? HUMAN : COLOURS[k % COLOURS.length], last: "", best: "", gap: "", position: 0 }));
      this.race = facts.laps ? { laps: facts.laps } : null;
      [this.contacts, this.results] = [[], []];
      this.rates = facts.rates;
      if (this.watched >= this.cars.length) this.watched = 0;
      this.channels = new Channels();
      for (const model of [...this.models.values(), ...this.ghostModels]) this.scene?.remove(model.group);
      this.models.clear();
      for (const { mark } of this.marks) this.scene?.remove(mark);
      this.marks = [];
      if (!before || JSON.stringify(before.circuit) !== JSON.stringify(facts.circuit)) this.build(facts.circuit);
      const { vehicle } = facts.circuit;
      for (const car of this.cars) this.models.set(car.number, makeCar(vehicle, car.colour, false));
      this.ghostModels = GHOSTS.map(([, colour]) => makeCar(vehicle, colour, true));
      for (const model of [...this.models.values(), ...this.ghostModels]) {
        model.group.visible = false;
        this.scene.add(model.group);
      }
      this.map = Vue.markRaw(new Map2D(this.$refs.map, facts.circuit));
      if (!facts.cars.some((car) => car.kind !== "human") && !this.driving) this.drive(true);
      this.tellWatch();
    },
    build(circuit) {
      const scene = new THREE.Scene();
      this.scene = Vue.markRaw(scene);
      this.place = makeCircuit(circuit);
      scene.add(this.place.group);
      this.sun = new THREE.DirectionalLight("#fff4e0", 2.4);
      this.sky = new THREE.HemisphereLight("#dcecff", "#6b7a52", 1.5);
      this.sun.castShadow = true;
      this.sun.shadow.mapSize.set(1024, 1024);
      const reach = 34 * Math.max(this.place.unit, circuit.vehicle.length / 1.9);
      Object.assign(this.sun.shadow.camera, { left: -reach, right: reach, top: reach, bottom: -reach, near: 0.1, far: reach * 6 });
      this.sun.shadow.bias = -0.0006;
      this.reach = reach;
      scene.add(this.sun, this.sun.target, this.sky);
      this.eyes = new Cameras(this.$refs.canvas, this.place, circuit);
      this.eyes.choose(this.camera);
      this.paint();
    },
    paint() {
      if (!this.scene) return;
      const [sky, haze, hills, light] = THEMES[this.theme];
      this.place.hills.color.set(hills);
      this.scene.background = new THREE.Color(sky);
      this.scene.fog = new THREE.Fog(haze, this.place.extent * 0.5 + 60 * this.place.unit, this.place.extent * 3.4 + 160 * this.place.unit);
      this.sun.intensity = 2.4 * light;
      this.sky.intensity = 1.5 * light;
    },
    linked(yes, why) {
      this.connected = yes;
      if (!yes) this.note(why || "The connection is lost; trying again ...", 1e9);
      else this.noteUntil = 0;
    },
    heard(event) {
      if (event.event === "problem") this.note(event.text, 20000);
      if (event.event === "news") this.note((this.news = event.text), 5000);
      if (event.event === "contact") this.touched(event);
      if (event.event === "over") this.overFor(event);
      if (event.event === "race") this.over(event.results);
      if (event.event === "lap") {
        const car = this.cars.find((one) => one.number === event.car);
        if (car && car.number === this.watched) this.note(`${car.name}: ${clock(event.time)}${event.best ? ", the best one" : ""}`, 4000);
      }
    },
    took(head) {
      this.paused = head.paused;
      if (this.driving !== head.driving) this.driven(head.driving);
      this.rate = head.rate;
      const human = this.cars.find((car) => car.kind === "human");
      if (this.unseated && human && this.link.cars.has(human.number)) {
        this.unseated = false; // the next race
        if (this.driving) this.watch(human.number);
      }
      if (!this.link.cars.has(this.watched) && this.link.cars.size) this.watch([...this.link.cars.keys()][0]);
      const state = this.link.cars.get(this.watched)?.now;
      if (state) {
        if (this.seenEpisode === `${this.watched}:${state.episode - 1}` && state.ended && state.ended !== STOOD && !this.race) this.note(ENDINGS[state.ended] ?? "", 2500);
        this.seenEpisode = `${this.watched}:${state.episode}`;
        this.channels.add(state);
      }
    },
    driven(on) {
      this.driving = on;
      this.hands.active = on;
      const human = this.cars.find((car) => car.kind === "human");
      if (human) this.watch(on ? human.number : 0);
      if (on) this.note("Arrows or W A S D; a gamepad or wheel, which C sets up; fingers", 4000);
    },
    frame() {
      const now = performance.now();
      const seconds = Math.min(0.1, (now - this.last) / 1000);
      this.adapt(now - this.last);
      this.last = now;
      this.hands.send();
      if (this.$refs.wheel?.open) this.settingUp();
      if (this.source !== this.hands.source) this.source = this.hands.source;
      if (this.noteUntil < now && this.$refs.note) this.$refs.note.classList.remove("shown");
      const pose = this.link.pose(this.watched);
      if (!pose || !this.scene) return;
      for (const [number, model] of this.models) {
        const one = number === this.watched ? pose : this.link.pose(number);
        model.group.visible = one !== null;
        if (one) model.show(one, this.paused ? 0 : seconds * this.rate);
      }
      this.ghostModels.forEach((model, k) => {
        const one = this.ghosts[k] ? this.link.ghostPose(k) : null;
        model.group.visible = one !== null;
        if (one) model.show(one, this.paused ? 0 : seconds * this.rate);
      });
      this.marks = this.marks.filter(({ mark, until }) => {
        if (until > now) return true;
        this.scene.remove(mark);
        return false;
      });
      for (const part of this.models.get(this.watched).helmet) part.visible = this.camera !== "cockpit" && !this.vrOn;
      this.draw(pose, seconds);
      if (this.frames++ % 3 === 0 && !this.vrOn) this.write(pose);
    },
    draw(pose, seconds) {
      if (!this.renderer) return;
      this.sun.target.position.set(pose.x, pose.y, 0);
      this.sun.position.set(pose.x - this.reach * 1.2, pose.y + this.reach * 0.8, this.reach * 2);
      if (this.vrOn) {
        const state = this.link.cars.get(this.watched).now;
        const speed = `${(pose.v * this.scale).toFixed(0)} ${this.units}`;
        this.vr.draw(this.scene, pose, this.eyes.size, [speed, `${clock(state.clock)}  ${signed(state.behind_reference)}`]);
        return;
      }
      const { clientWidth: width, clientHeight: height } = this.$refs.view;
      if (this.size !== `${width}x${height}x${this.ratio}`) {
        this.size = `${width}x${height}x${this.ratio}`;
        this.renderer.setPixelRatio(this.ratio);
        this.renderer.setSize(width, height, false);
        this.eyes.camera.aspect = width / Math.max(1, height);
        this.eyes.camera.updateProjectionMatrix();
      }
      this.eyes.aim(pose, seconds);
      this.renderer.render(this.scene, this.eyes.camera);
    },
    adapt(passed) {
      // Machines that draw slowly get fewer pixels, then no shadows.
      if (this.paused || this.vrOn || document.hidden || passed > 1000) return;
      this.mean = 0.95 * (this.mean ?? 20) + 0.05 * passed;
      this.since = (this.since ?? 0) + 1;
      if (this.mean < SLOW_FRAME || this.since < 12 || !this.renderer) return;
      this.since = 0;
      if (this.ratio > 0.6) this.ratio = Math.max(0.6, this.ratio * 0.75);
      else if (this.sun?.castShadow) this.sun.castShadow = false;
    },
    colours() {
      const style = getComputedStyle(this.$refs.root);
      const names = ["ink", "paper", "faint", "edge", "drive", "brake", "line", "plot", "grid", "road"];
      return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    },
    write(pose) {
      const state = this.link.cars.get(this.watched).now;
      const { vehicle } = this.facts.circuit;
      const say = (name, text) => { if (this.$refs[name].textContent !== text) this.$refs[name].textContent = text; };
      say("speed", (pose.v * this.scale).toFixed(this.units === "km/h" ? 0 : 1));
      say("clock", clock(state.clock));
      const behind = Number.isFinite(state.behind_best) ? state.behind_best : state.behind_reference;
      say("delta", signed(behind));
      this.$refs.delta.className = `rv-delta ${behind > 0 ? "late" : behind < 0 ? "ahead" : ""}`;
      say("deltaOf", Number.isFinite(state.behind_best) ? "to best lap" : "to reference");
      say("lap", this.race ? `P${state.position}, lap ${Math.min(state.lap, this.race.laps) || "-"}/${this.race.laps}` : `lap ${state.lap || "-"}`);
      bar(this.$refs.steer, -state.steering_command, "#fff");
      bar(this.$refs.pedal, state.throttle_command, state.throttle_command >= 0 ? "#56b4e9" : "#e69f00");
      const texts = { last: clock(state.last_lap), best: clock(state.best_lap), reference: clock(this.facts.circuit.reference),
        behindReference: signed(state.behind_reference), behindBest: signed(state.behind_best),
        sector1: clock(state.sector_1), sector2: clock(state.sector_2), sector3: clock(state.sector_3) };
      for (const [name, text] of Object.entries(texts)) say(name, text);
      this.$refs.late.classList.toggle("shown", this.link.head.share < 1);
      say("late", `late: time runs at ${(this.link.head.rate * this.link.head.share).toFixed(2)}x`);
      for (const car of this.cars) {
        const one = this.link.cars.get(car.number)?.now;
        const shown = one ? { last: clock(one.last_lap), best: clock(one.best_lap), gap: one.position > 1 ? signed(one.gap) : "", position: one.position } : this.race ? {} : { last: "", best: "" };
        for (const [name, value] of Object.entries(shown)) if (car[name] !== value) car[name] = value;
      }
      const colours = this.colours();
      const there = this.cars.filter((car) => this.link.cars.has(car.number)).map((car) => ({ ...this.link.pose(car.number), ...car }));
      this.map.draw(colours, there, this.watched, this.marks);
      this.channels.draw(this.$refs.channels, colours, { scale: this.scale, unit: this.units, top: vehicle.max_speed });
      this.channels.drawForces(this.$refs.forces, colours, vehicle.friction);
      if (!this.senses) return;
      const senses = this.link.senses?.car === this.watched ? this.link.senses : null;
      drawSenses(this.$refs.rays, colours, senses, state);
      if (this.hasPicture !== Boolean(senses?.picture)) this.hasPicture = Boolean(senses?.picture);
      if (senses?.picture) drawPicture(this.$refs.picture, senses.picture);
    },
    note(text, lasts) {
      if (!this.$refs.note || !text) return;
      this.$refs.note.textContent = text;
      this.$refs.note.classList.add("shown");
      this.noteUntil = performance.now() + lasts;
    },
    keep(name, value) {
      localStorage.setItem(`racing.${name}`, value);
    },
    setCamera(kind) { this.camera = kind; this.keep("camera", kind); this.eyes?.choose(kind); },
    setUnits() { this.units = this.units === "km/h" ? "m/s" : "km/h"; this.keep("units", this.units); },
    setTheme() { this.theme = this.theme === "dark" ? "light" : "dark"; this.keep("theme", this.theme); this.paint(); },
    setSenses() { this.senses = !this.senses; this.keep("senses", this.senses ? "on" : "off"); this.tellWatch(); },
    setRate(rate) { this.link.say("rate", { rate: Number(rate) }); },
    pause() { this.link.say("pause", { on: !this.paused }); },
    restart(along) { this.link.say("restart", { along }); },
    drive(on) { this.link.say("drive", { on }); },
    async setVR() {
      if (this.vrOn) return this.vr.leave();
      const { near, far } = this.eyes.camera;
      this.vr?.dispose();
      this.vr = Vue.markRaw(new VR(this.renderer, this.hands, near, far, {
        frame: () => this.frame(),
        away: () => this.away(),
        ended: () => [this.vrOn, this.size] = [false, ""],
        take: () => this.drive(!this.driving),
        restart: () => this.restart(null),
      }));
      try {
        await this.vr.enter();
        this.vrOn = true;
      } catch (error) {
        await this.vr.leave();
        this.note(`The headset was not to be had: ${error.message}`, 6000);
      }
    },
    watch(number) {
      this.watched = number;
      this.channels = new Channels();
      this.eyes?.choose(this.camera);
      this.tellWatch();
    },
    tellWatch() { this.link.say("watch", { car: this.watched, senses: this.senses }); },
    clickMap(event) { if (!this.race) this.restart(this.map.placeAt(event.offsetX, event.offsetY)); },
    keyMap(event) {
      if (this.race) return;
      const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (steps && !this.driving) this.map.move(steps);
      else if (event.key === "Enter" && this.map.cursor !== null) this.restart(this.facts.circuit.s[this.map.cursor]);
      else return;
      event.preventDefault();
    },
    finger(event, pedal) {
      const box = event.currentTarget.getBoundingClientRect();
      const [x, y] = [((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2];
      this.fingers = { steer: 0, pedal: 0, ...this.fingers, ...(pedal ? { pedal: limited(y) } : { steer: limited(x) }) };
      event.currentTarget.setPointerCapture?.(event.pointerId);
      this.hands.finger([this.fingers.steer, this.fingers.pedal]);
    },
    lifted(pedal) {
      this.fingers = { ...this.fingers, ...(pedal ? { pedal: 0 } : { steer: 0 }) };
      this.hands.finger(this.fingers.steer || this.fingers.pedal ? [this.fingers.steer, this.fingers.pedal] : null);
    },
    key(event) {
      if (this.$refs.wheel.open) return; // a dialog has the keys
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const index = CAMERAS[Number(event.key) - 1];
      const order = this.rates.indexOf(this.rate);
      const others = [...this.link.cars.keys()];
      const meaning = {
        r: () => this.restart(null), e: () => this.drive(!this.driving), u: () => this.setUnits(), t: () => this.setTheme(), v: () => this.setSenses(), c: () => this.setUp(),
        h: () => (this.help = !this.help), "?": () => (this.help = !this.help), Escape: () => (this.help = false), p: () => this.pause(),
        "+": () => this.setRate(this.rates[Math.min(this.rates.length - 1, order + 1)]), "-": () => this.setRate(this.rates[Math.max(0, order - 1)]),
        n: () => this.watch(others[(others.indexOf(this.watched) + 1) % others.length]),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      const space = event.key === " " && !["BUTTON", "INPUT"].includes(event.target.tagName) ? () => this.pause() : null;
      const act = index ? () => this.setCamera(index) : (meaning ?? space);
      if (!act || event.repeat) return;
      event.preventDefault();
      act();
    },
    told() {
      const { head, messages, senses } = this.link;
      const cars = this.cars.filter((car) => this.link.cars.has(car.number)).map((car) => ({ ...this.link.cars.get(car.number).now, name: car.name, number: car.number, colour: car.colour }));
      return { ...head, connected: this.connected, wheel: this.$refs.wheel.open ? { ...this.wheel } : null, contacts: this.contacts.map((one) => one.text), results: this.results, cars, watched: this.watched, camera: this.camera, units: this.units, theme: this.theme, source: this.source,
        messages, frames: this.frames, vr: this.vr?.told() ?? null, ghosts: this.link.ghosts.length, pages: this.facts?.pages, news: this.news ?? null, best: this.facts?.best, track: this.facts?.circuit.name,
        senses: senses && { car: senses.car, rays: senses.rays.length, preview: senses.preview.length, picture: senses.picture && [senses.picture.height, senses.picture.width] } };
    },
  },
};
