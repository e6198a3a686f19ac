// The page of episodes that say themselves what they cost: drivers beside each other, as channels over time.
import { AFTER, Connection } from "racing-viewer/connection.js";
import { COLOURS } from "racing-viewer/colours.js";
import { drawPanels, written } from "racing-viewer/scores/panels.js";

const kept = (name, usual) => localStorage.getItem(`racing.${name}`) ?? usual;
const BACK = 10; // [s] of the past that are shown, where not all is
const FIRST = AFTER + 6; // where rows begin, see racing/viewer/scores/session.py
const LISTED = 12; // episodes that are over

const TEMPLATE = `
<div class="rv" ref="root" :data-theme="theme">
  <header class="rv-bar">
    <span class="rv-title">{{ facts ? facts.kind + "s" : "racing" }}<small v-if="facts">{{ said }}</small></span>
    <div class="rv-group" role="group" :aria-label="facts ? facts.kind : ''">
      <button @click="go(number - 1)" title="the one before (left arrow)" aria-label="the one before">‹</button>
      <select :value="number" @change="go(Number($event.target.value)), $event.target.blur()" :aria-label="facts ? facts.kind : ''" class="rs-choice">
        <option v-for="(name, k) in facts ? facts.episodes : []" :key="k" :value="k">{{ k + 1 }}: {{ stem(name) }}</option>
      </select>
      <button @click="go(number + 1)" title="the next one (right arrow, N)" aria-label="the next one">›</button>
    </div>
    <button @click="say('restart', { along: null })" title="from its start (R)">restart</button>
    <button @click="pause" :aria-pressed="paused" title="pause (space)" style="min-width: 5.4em">{{ paused ? "resume" : "pause" }}</button>
    <select :value="rate" @change="setRate($event.target.value)" aria-label="speed of time" title="speed of time (+ and -)">
      <option v-for="one in rates" :key="one" :value="one">{{ one }}x</option>
    </select>
    <button @click="setWhole" :aria-pressed="whole" title="all of it, or the last seconds and what is ahead (W)">whole</button>
    <button @click="setTheme" title="light or dark (T)" style="min-width: 3.6em">{{ theme }}</button>
    <a class="rr-button" href="/runs" title="all runs">runs</a>
  </header>
  <main class="rv-main">
    <div class="rs-view">
      <canvas class="rs-panels" ref="panels" role="img" :aria-label="'target and what was driven, over time'"></canvas>
      <div class="rv-note" ref="note" role="status" aria-live="polite"></div>
      <div class="rv-late" ref="late" role="status"></div>
    </div>
    <aside class="rv-side" aria-label="costs">
      <section class="rv-card rs-costs">
        <h2>Costs so far <span ref="time">0.0 s</span></h2>
        <table class="rs-table"><thead><tr><th></th><th v-for="cost in costs" :key="cost.name">{{ cost.name.replace("_cost", "") }}</th></tr></thead>
          <tbody><tr v-for="(name, k) in drivers" :key="name"><td :title="name"><i :style="{ background: colour(k) }"></i> {{ short(name) }}</td><td v-for="(cost, c) in costs" :key="cost.name">{{ figure(sums[k]?.[c], cost.digits) }}</td></tr></tbody></table>
      </section>
      <section class="rv-card">
        <h2>Now</h2>
        <table class="rs-table"><tbody>
          <tr v-for="row in present" :key="row.name"><td>{{ row.name }}</td><td>{{ row.text }}</td></tr>
        </tbody></table>
      </section>
      <section class="rv-card rs-done">
        <h2>Driven {{ facts ? facts.kind : "" }}s <span>{{ costs.length ? costs[0].name.replace("_", " ") : "" }}</span></h2>
        <table class="rs-table"><thead><tr><th></th><th v-for="(name, k) in drivers" :key="name" :title="name"><i :style="{ background: colour(k) }"></i></th></tr></thead>
          <tbody>
            <tr v-for="one in done" :key="one.id"><td><a href="#" @click.prevent="go(one.number)" :title="one.name">{{ one.number + 1 }}: {{ stem(one.name) }}</a></td><td v-for="(value, k) in one.values" :key="k">{{ figure(value, costs[0].digits) }}</td></tr>
            <tr v-if="done.length > 1" class="rs-mean"><td>mean of {{ done.length }}</td><td v-for="(value, k) in means" :key="k">{{ figure(value, costs[0].digits) }}</td></tr>
          </tbody></table>
        <span v-if="!done.length">none to its end yet</span>
      </section>
    </aside>
  </main>
</div>`;

class Rows extends Connection {
  greeted(facts) { this.start({ number: -1 }, facts); }

  // An episode begins, of which nothing is driven yet.
  start(episode, facts) {
    this.facts = facts ?? this.facts;
    this.episode = episode;
    this.rows = this.facts.drivers.map(() => Object.fromEntries(this.facts.columns.map((name) => [name, []])));
    this.sums = [];
  }

  take(kind, values) {
    if (kind !== 3) return false;
    this.takeHead(values);
    const [number, first, rows, drivers, columns, costs] = values.subarray(AFTER, FIRST);
    if (number !== this.episode.number || first !== this.count) return true;
    for (let row = 0; row < rows; row++)
      for (let k = 0; k < drivers; k++)
        this.facts.columns.forEach((name, c) => this.rows[k][name].push(values[FIRST + (row * drivers + k) * columns + c]));
    const after = FIRST + rows * drivers * columns;
    this.sums = Array.from({ length: drivers }, (_, k) => Array.from(values.subarray(after + k * costs, after + (k + 1) * costs)));
    return true;
  }

  get count() { return this.rows[0][this.facts.columns[0]].length; }
}

export default {
  template: TEMPLATE,
  data() {
    return {
      facts: null, number: 0, rates: [1], rate: 1, paused: false, connected: false, whole: kept("whole", "off") === "on",
      theme: kept("theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"), sums: [], present: [], done: [],
    };
  },
  computed: {
    said() { return Object.entries(this.facts.facts).map(([name, text]) => `${name} ${text}`).join(", "); },
    costs() { return this.facts?.costs ?? []; },
    drivers() { return this.facts?.drivers ?? []; },
    means() { return this.drivers.map((_, k) => this.done.reduce((sum, one) => sum + one.values[k], 0) / this.done.length); },
  },
  mounted() {
    this.frames = 0;
    this.link = new Rows({
      hello: (facts) => this.greeted(facts),
      event: (event) => this.heard(event),
      state: (head) => [this.paused, this.rate] = [head.paused, head.rate],
      connected: (yes, why) => this.linked(yes, why),
    });
    this.onKey = (event) => this.key(event);
    window.addEventListener("keydown", this.onKey);
    this.alive = true;
    const loop = () => {
      if (!this.alive) return;
      this.frame();
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
    window.racing = { state: () => this.told() };
  },
  unmounted() {
    this.alive = false;
    this.link.close();
    window.removeEventListener("keydown", this.onKey);
  },
  methods: {
    greeted(facts) {
      this.facts = Vue.markRaw(facts);
      [this.rates, this.done, this.sums] = [facts.rates, [], []];
    },
    heard(event) {
      if (event.event === "episode") {
        this.link.start(event);
        this.number = event.number;
        this.note("", 0);
      } else if (event.event === "done") {
        const values = event.costs.map((own) => own[this.costs[0].name]);
        const rest = this.done.filter((one) => one.number !== event.number); // driven again it costs the same
        this.done = [{ id: event.number, number: event.number, name: event.name, values, costs: event.costs }, ...rest].slice(0, LISTED);
        const best = values.indexOf(Math.min(...values));
        this.note(values.length > 1 ? `${this.stem(event.name)}: ${this.drivers[best]} costs least` : `${this.stem(event.name)}: ${this.figure(values[0], this.costs[0].digits)}`, 4000);
      } else if (event.event === "problem") this.note(event.text, 20000);
      else if (event.event === "news") this.note(event.text, 5000);
    },
    linked(yes, why) {
      this.connected = yes;
      this.note(yes ? "" : why || "The connection is lost; trying again ...", yes ? 0 : 1e9);
    },
    frame() {
      this.frames += 1;
      const { episode } = this.link;
      if (this.until < performance.now()) this.$refs.note.classList.remove("shown");
      if (!this.facts || !episode?.plan || document.hidden) return;
      const { count } = this.link;
      const dt = this.facts.tick;
      const steps = episode.plan[Object.keys(episode.plan)[0]].length;
      const window_ = this.whole ? [0, (steps - this.facts.ahead) * dt] : [count * dt - BACK, (count + this.facts.ahead) * dt];
      drawPanels(this.$refs.panels, getComputedStyle(this.$refs.root), {
        panels: this.facts.panels, units: this.facts.units, plan: episode.plan, rows: this.link.rows, dt, window: window_, now: count,
        seen: Math.min(steps, count + this.facts.ahead), colours: this.drivers.map((_, k) => this.colour(k)),
      });
      if (this.frames % 6) return;
      this.sums = this.link.sums;
      this.$refs.time.textContent = `${(count * dt).toFixed(1)} s`;
      const share = this.link.head.share;
      this.$refs.late.classList.toggle("shown", share < 1);
      this.$refs.late.textContent = `late: time runs at ${(this.link.head.rate * share).toFixed(2)}x`;
      this.present = Object.entries(episode.plan).map(([name, values]) => {
        const value = values[Math.min(count, values.length - 1)];
        return { name: name.replace("_", " "), text: `${value.toFixed(2)} ${written(this.facts.units[name])}` };
      });
    },
    stem(name) { return name.split("/").at(-1).replace(/\.\w+$/, ""); },
    short(name) { return name.length <= 19 ? name : `${name.slice(0, 9)}…${name.slice(-9)}`; }, // what tells runs apart is at its end
    colour(k) { return COLOURS[k % COLOURS.length]; },
    figure(value, digits) { return Number.isFinite(value) ? value.toFixed(digits) : "–"; },
    note(text, lasts) {
      this.until = performance.now() + lasts;
      this.$refs.note.textContent = text;
      this.$refs.note.classList.toggle("shown", text !== "");
    },
    say(what, values) { this.link.say(what, values); },
    go(number) {
      const count = this.facts.episodes.length;
      this.say("episode", { number: (number + count) % count });
    },
    setRate(rate) { this.say("rate", { rate: Number(rate) }); },
    pause() { this.say("pause", { on: !this.paused }); },
    keep(name, value) { localStorage.setItem(`racing.${name}`, value); },
    setWhole() { this.whole = !this.whole; this.keep("whole", this.whole ? "on" : "off"); },
    setTheme() { this.theme = this.theme === "dark" ? "light" : "dark"; this.keep("theme", this.theme); },
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const order = this.rates.indexOf(this.rate);
      const meaning = {
        ArrowLeft: () => this.go(this.number - 1), ArrowRight: () => this.go(this.number + 1), n: () => this.go(this.number + 1),
        r: () => this.say("restart", { along: null }), p: () => this.pause(), w: () => this.setWhole(), t: () => this.setTheme(),
        "+": () => this.setRate(this.rates[Math.min(this.rates.length - 1, order + 1)]), "-": () => this.setRate(this.rates[Math.max(0, order - 1)]),
      }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      const act = meaning ?? (event.key === " " && event.target.tagName !== "BUTTON" ? () => this.pause() : null);
      if (!act || event.repeat || !this.facts) return;
      event.preventDefault();
      act();
    },
    told() {
      const { head, messages } = this.link;
      return { ...head, connected: this.connected, drivers: this.drivers, number: this.number, count: this.facts ? this.link.count : 0, name: this.link.episode?.name,
        sums: this.link.sums, done: this.done, whole: this.whole, theme: this.theme, messages, frames: this.frames };
    },
  },
};
