// The page of runs: how far each is, how well it drives, and the quickest laps; it asks again while it is looked at.

const OFTEN = 2000; // [ms]
const [WIDE, HIGH] = [84, 26]; // [px] of a course
const kept = (name, usual) => localStorage.getItem(`racing.${name}`) ?? usual;

const TEMPLATE = `
<div class="rv rr" :data-theme="theme">
  <header class="rv-bar">
    <span class="rv-title">racing <small>{{ said }}</small></span>
    <a class="rr-button" href="/">watch</a>
    <button @click="setTheme" title="light or dark (T)" style="min-width: 3.6em">{{ theme }}</button>
  </header>
  <main class="rr-main">
    <section class="rv-card rr-runs" aria-label="runs">
      <h2>Runs <span v-if="facts">{{ facts.more ? "the newest " + facts.runs.length + ", " + facts.more + " more: racing runs list" : "" }}</span></h2>
      <p v-if="facts && !facts.runs.length">No run yet. Train one: <code>racing train</code></p>
      <table v-if="facts && facts.runs.length">
        <thead><tr><th>run</th><th>status</th><th>steps</th><th>finish rate</th><th>lap</th><th>lap ratio</th><th v-if="scored">score</th><th>started</th></tr></thead>
        <tbody>
          <tr v-for="run in facts.runs" :key="run.name">
            <template v-if="run.damage">
              <td>{{ run.name }}</td><td><b class="rr-status" data-status="DAMAGED">damaged</b></td><td class="rr-damage" :colspan="scored ? 6 : 5">{{ run.damage }}</td>
            </template>
            <template v-else>
              <td><a v-if="run.opens" :href="'/?run=' + encodeURIComponent(run.name)" :title="'watch ' + run.name">{{ run.name }}</a><span v-else :title="'nothing to watch yet'">{{ run.name }}</span></td>
              <td><b class="rr-status" :data-status="run.status">{{ run.status.toLowerCase() }}</b></td>
              <td class="rr-steps">{{ count(run.steps) }}<small v-if="run.total"> of {{ count(run.total) }}</small><small v-if="left(run)">, {{ left(run) }}</small>
                <div v-if="run.status === 'RUNNING' && run.total" class="rr-way" role="progressbar" :aria-valuenow="share(run)"><i :style="{ width: share(run) + '%' }"></i></div></td>
              <td class="rr-figure"><svg v-if="line(run, 1)" :viewBox="box" aria-hidden="true"><path :d="line(run, 1, 0, 1)" /></svg><span>{{ percent(run.finish_rate) }}</span></td>
              <td>{{ seconds(run.lap_time_s) }}</td>
              <td class="rr-figure"><svg v-if="line(run, 2)" :viewBox="box" aria-hidden="true"><path class="rr-ratio" :d="line(run, 2)" /></svg><span>{{ figure(run.lap_ratio) }}</span></td>
              <td v-if="scored" class="rr-figure"><svg v-if="line(run, 3)" :viewBox="box" aria-hidden="true"><path :d="line(run, 3)" /></svg><span>{{ figure(run.score) }}</span></td>
              <td>{{ day(run.started) }}</td>
            </template>
          </tr>
        </tbody>
      </table>
    </section>
    <aside class="rr-boards" aria-label="quickest laps">
      <section v-for="board in facts ? facts.boards : []" :key="board.track + board.vehicle + board.reference_s" class="rv-card">
        <h2>{{ board.track }}, {{ board.vehicle }} <span>reference {{ seconds(board.reference_s) }}</span></h2>
        <table>
          <tbody>
            <tr v-for="lap in board.laps" :key="lap.kind + lap.who" :data-kind="lap.kind">
              <td>{{ lap.place }}</td>
              <td :title="lap.who">{{ lap.kind === "human" ? "you and others" : lap.who }}</td>
              <td>{{ seconds(lap.time_s) }}</td>
              <td>{{ behind(board, lap) }}</td>
            </tr>
          </tbody>
        </table>
      </section>
      <section v-if="facts && !facts.boards.length" class="rv-card"><h2>Quickest laps</h2>None yet: of runs that have finished, and of people who drove.</section>
    </aside>
  </main>
</div>`;

export default {
  template: TEMPLATE,
  data() {
    return {
      facts: null, said: "", box: `0 0 ${WIDE} ${HIGH}`,
      theme: kept("theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"),
    };
  },
  computed: {
    scored() { return this.facts.runs.some((run) => Number.isFinite(run.score)); },
  },
  mounted() {
    this.asked = 0;
    this.onKey = (event) => event.key.toLowerCase() === "t" && !event.ctrlKey && !event.metaKey && this.setTheme();
    window.addEventListener("keydown", this.onKey);
    this.timer = setInterval(() => document.hidden || this.ask(), OFTEN);
    this.ask();
    window.racing = { state: () => ({ ...this.facts, asked: this.asked, theme: this.theme }) };
  },
  unmounted() {
    clearInterval(this.timer);
    window.removeEventListener("keydown", this.onKey);
  },
  methods: {
    async ask() {
      if (this.asking) return;
      this.asking = true;
      try {
        const answer = await fetch("/racing/runs");
        if (!answer.ok) throw new Error();
        this.facts = await answer.json();
        this.asked += 1;
        const running = this.facts.runs.filter((run) => run.status === "RUNNING").length;
        this.said = `${this.facts.runs.length + this.facts.more} runs, ${running} running`;
      } catch {
        this.said = "the connection is lost; trying again ...";
      }
      this.asking = false;
    },
    setTheme() {
      this.theme = this.theme === "dark" ? "light" : "dark";
      localStorage.setItem("racing.theme", this.theme);
    },
    // A column of a run's course over steps; low, high: of the scale, else those of the values.
    line(run, column, low = null, high = null) {
      const points = run.course.filter((point) => point[column] !== null);
      if (points.length < 2) return "";
      const values = points.map((point) => point[column]);
      const [bottom, top] = [low ?? Math.min(...values), high ?? Math.max(...values)];
      const [begin, end] = [points[0][0], points.at(-1)[0]];
      const across = (step) => 1 + ((WIDE - 2) * (step - begin)) / (end - begin || 1);
      const down = (value) => HIGH - 2 - ((HIGH - 4) * (value - bottom)) / (top - bottom || 1);
      return points.map((point, k) => `${k ? "L" : "M"}${across(point[0]).toFixed(1)} ${down(point[column]).toFixed(1)}`).join("");
    },
    share(run) { return Math.round(Math.min(100, (100 * run.steps) / run.total)); },
    left(run) {
      if (run.status !== "RUNNING" || !run.rate || !run.total || run.steps >= run.total) return "";
      const minutes = (run.total - run.steps) / run.rate / 60;
      return minutes < 1 ? "less than a minute left" : minutes < 90 ? `${Math.round(minutes)} min left` : `${(minutes / 60).toFixed(1)} h left`;
    },
    behind(board, lap) {
      const first = board.laps[0];
      return lap === first ? "" : `+${(lap.time_s - first.time_s).toFixed(2)}`;
    },
    count(steps) { return steps >= 1e6 ? `${+(steps / 1e6).toFixed(1)} M` : steps >= 1e4 ? `${Math.round(steps / 1e3)} k` : String(steps ?? 0); },
    percent(value) { return Number.isFinite(value) ? `${Math.round(100 * value)} %` : "–"; },
    figure(value) { return Number.isFinite(value) ? value.toPrecision(4) : "–"; },
    seconds(value) { return Number.isFinite(value) ? `${value.toFixed(2)} s` : "–"; },
    day(text) { return text.slice(5, 16).replace("T", " "); },
  },
};
