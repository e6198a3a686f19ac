// The page's elements; Vue compiles them in the browser.

export const TEMPLATE = `
<div class="rv" ref="root" :data-theme="theme" :data-touch="touch && driving ? 'on' : 'off'">
  <header class="rv-bar">
    <span class="rv-title">{{ facts ? facts.circuit.name : "racing" }}<small v-if="facts">{{ facts.circuit.vehicle.name }}, {{ (facts.circuit.length).toFixed(0) }} m</small></span>
    <div class="rv-group" role="group" aria-label="camera">
      <button v-for="(kind, k) in cameras" :key="kind" :aria-pressed="camera === kind" :title="'camera ' + kind + ' (' + (k + 1) + ')'" @click="setCamera(kind)">{{ kind }}</button>
    </div>
    <button @click="pause" :aria-pressed="paused" title="pause (space)" style="min-width: 5.4em">{{ paused ? "resume" : "pause" }}</button>
    <select :value="rate" @change="setRate($event.target.value)" aria-label="speed of time" title="speed of time (+ and -)">
      <option v-for="one in rates" :key="one" :value="one">{{ one }}x</option>
    </select>
    <button @click="restart(null)" :title="race ? 'a new race (R)' : 'all cars to the start line (R); elsewhere: click on the map'">restart</button>
    <button @click="drive(!driving)" :aria-pressed="driving" :title="race ? 'join the race, a new one begins (E)' : 'take the wheel (E)'">drive</button>
    <button v-if="vrOffered" @click="setVR" :aria-pressed="vrOn" title="the cockpit in a headset">{{ vrOn ? "leave VR" : "enter VR" }}</button>
    <button @click="setUnits" title="units (U)" style="min-width: 4.2em">{{ units }}</button>
    <button @click="setTheme" title="light or dark (T)" style="min-width: 3.6em">{{ theme }}</button>
    <a class="rr-button" href="/runs" title="all runs, and the quickest laps">runs</a>
    <button @click="help = true" title="keys (H)" aria-label="help">?</button>
  </header>
  <main class="rv-main">
    <div class="rv-view" ref="view">
      <canvas ref="canvas" tabindex="-1" aria-label="the circuit with its cars"></canvas>
      <div class="rv-hud">
        <span><span class="rv-speed" ref="speed">0</span> <small>{{ units }}</small></span>
        <span><span class="rv-clock" ref="clock">–</span> <small ref="lap">lap -</small></span>
        <small class="rv-by" v-text="driving ? 'by ' + source + ', ' + Math.round(1000 * latency) + ' ms behind' : ''"></small>
        <span><span class="rv-delta" ref="delta">–</span> <small ref="deltaOf">to reference</small></span>
        <div class="rv-bars" aria-hidden="true"><div class="rv-meter"><i ref="steer"></i></div><div class="rv-meter"><i ref="pedal"></i></div></div>
      </div>
      <div class="rv-note" ref="note" role="status" aria-live="polite"></div>
      <div class="rv-late" ref="late" role="status"></div>
      <div class="rv-touch">
        <div @pointerdown="finger($event, false)" @pointermove="$event.buttons && finger($event, false)" @pointerup="lifted(false)" @pointercancel="lifted(false)">steer</div>
        <div @pointerdown="finger($event, true)" @pointermove="$event.buttons && finger($event, true)" @pointerup="lifted(true)" @pointercancel="lifted(true)">throttle / brake</div>
      </div>
    </div>
    <aside class="rv-side" aria-label="telemetry">
      <section class="rv-card" :class="{ 'rv-race': race }">
        <h2>{{ race ? "Race" : "Cars" }} <span v-text="driving ? 'you drive' : race ? 'press E to join' : 'press E to drive'"></span></h2>
        <div class="rv-head"><span></span><span></span><span>{{ race ? "gap" : "last" }}</span><span>best</span></div>
        <div class="rv-cars">
          <button v-for="car in listed" :key="car.number" class="rv-car" :aria-pressed="car.number === watched" :title="'watch ' + car.name + ' (N: the next one)'" @click="watch(car.number)">
            <i :style="{ background: car.colour }"></i><b><template v-if="race">{{ car.position || "–" }}&ensp;</template>{{ car.kind === "human" ? "you" : car.name }}</b><span>{{ (race ? car.gap : car.last) || "–" }}</span><span>{{ car.best || "–" }}</span>
          </button>
        </div>
        <ul v-if="race" class="rv-contacts" aria-label="contacts" aria-live="polite">
          <li v-for="one in contacts" :key="one.id">{{ one.text }}</li>
          <li v-if="!contacts.length">no contact yet</li>
        </ul>
        <div class="rv-ghosts">
          <label><input type="checkbox" v-model="ghosts[0]" /> reference ghost</label>
          <label><input type="checkbox" v-model="ghosts[1]" /> your best lap</label>
        </div>
      </section>
      <section v-if="results.length" class="rv-card">
        <h2>Result of the last race <span>{{ race.laps === 1 ? "one lap" : race.laps + " laps" }}</span></h2>
        <table class="rv-results"><tbody>
          <tr v-for="row in results" :key="row.number"><td>{{ row.position }}</td><td><i :style="{ background: row.colour }"></i> {{ row.name }}</td><td>{{ row.time }}</td><td>{{ row.touched }}</td></tr>
        </tbody></table>
      </section>
      <section class="rv-card">
        <h2>Map <span>{{ race ? "rings: contacts" : "click: restart there" }}</span></h2>
        <canvas class="rv-map" ref="map" :tabindex="race ? -1 : 0" role="application" :aria-label="race ? 'map' : 'map: arrows choose a place, Enter restarts there'" @click="clickMap" @keydown="keyMap"></canvas>
      </section>
      <section class="rv-card">
        <h2>Times <span v-text="cars[watched] ? (cars[watched].kind === 'human' ? 'you' : cars[watched].name) : ''"></span></h2>
        <table class="rv-times">
          <tbody>
            <tr><td>last lap</td><td ref="last">–</td><td>reference</td><td ref="reference">–</td></tr>
            <tr><td>best lap</td><td ref="best">–</td><td>sector 1</td><td ref="sector1">–</td></tr>
            <tr><td>to reference</td><td ref="behindReference">–</td><td>sector 2</td><td ref="sector2">–</td></tr>
            <tr><td>to best lap</td><td ref="behindBest">–</td><td>sector 3</td><td ref="sector3">–</td></tr>
          </tbody>
        </table>
      </section>
      <section class="rv-card">
        <h2>Channels <span>last 12 s</span></h2>
        <canvas class="rv-channels" ref="channels" role="img" aria-label="speed, steering and pedals of the last seconds"></canvas>
        <div class="rv-two"><canvas class="rv-square" ref="forces" role="img" aria-label="longitudinal and lateral acceleration"></canvas></div>
      </section>
      <section class="rv-card">
        <h2>What it senses <button @click="setSenses" :aria-pressed="senses" title="what the car senses (V)">{{ senses ? "hide" : "show" }}</button></h2>
        <div class="rv-two" v-show="senses">
          <canvas class="rv-square" ref="rays" role="img" aria-label="rays and preview points"></canvas>
          <canvas class="rv-picture" ref="picture" v-show="hasPicture" role="img" aria-label="the policy's camera"></canvas>
        </div>
      </section>
    </aside>
  </main>
  <div class="rv-help" :class="{ shown: help }" @click.self="help = false" role="dialog" aria-label="keys">
    <div>
      <b>Keys</b>
      <dl>
        <dt>arrows, W A S D</dt><dd>steer, throttle, brake, while you drive</dd>
        <dt>E</dt><dd>take the wheel, or leave it</dd>
        <dt>C</dt><dd>set up a wheel or gamepad</dd>
        <dt>R</dt><dd>{{ race ? "a new race" : "all cars to the start line" }}</dd>
        <dt>space, P</dt><dd>pause</dd>
        <dt>+ and -</dt><dd>speed of time, 0.25x to 16x</dd>
        <dt>1 to 5</dt><dd>cameras: chase, cockpit, top, TV, free</dd>
        <dt>N</dt><dd>watch the next car</dd>
        <dt>V, U, T</dt><dd>senses, units, light or dark</dd>
        <dt v-if="!race">map</dt><dd v-if="!race">Tab to it, arrows, Enter: restart there</dd>
      </dl>
      <button @click="help = false">close</button> <button @click="help = false; setUp()">set up a wheel</button>
    </div>
  </div>
  <dialog class="rv-dialog" ref="wheel" aria-labelledby="rv-wheel-title" @close="setUpEnded">
    <b id="rv-wheel-title">Set up a wheel or gamepad</b>
    <template v-if="!wheel.id">
      <p role="status">None is seen yet. Plug it in, and press one of its buttons.</p>
      <div class="rv-choices"><button @click="$refs.wheel.close()">cancel</button></div>
    </template>
    <template v-else-if="!wheel.done">
      <p><small>{{ wheel.id }}</small></p>
      <p aria-live="polite"><b>{{ wheel.step + 1 }} of {{ wheel.steps }}:</b> {{ wheel.asked }}</p>
      <p class="rv-seen">{{ wheel.found }}</p>
      <div class="rv-meter rv-seen-bar" aria-hidden="true"><i ref="wheelBar"></i></div>
      <div class="rv-choices"><button ref="wheelNext" :aria-disabled="!wheel.complete" @click="setUpNext">next</button><button v-if="wheel.kept" @click="setUpForget">forget the old setting</button><button @click="$refs.wheel.close()">cancel</button></div>
    </template>
    <template v-else>
      <p><small>{{ wheel.id }}</small></p>
      <label class="rv-slide">dead zone {{ Math.round(100 * wheel.deadZone) }} % <input ref="wheelZone" type="range" min="0" max="0.3" step="0.01" v-model.number="wheel.deadZone" /></label>
      <p>Try it: steering, throttle and brake</p>
      <div class="rv-meter rv-seen-bar" role="img" aria-label="steering"><i ref="wheelSteer"></i></div>
      <div class="rv-meter rv-seen-bar" role="img" aria-label="throttle and brake"><i ref="wheelPedals"></i></div>
      <div class="rv-choices"><button @click="setUpSave">save</button><button @click="setUp">again</button><button @click="$refs.wheel.close()">cancel</button></div>
    </template>
  </dialog>
</div>`;
