// What the page tells of a race: methods of view.js.
import { clock } from "racing-viewer/figures.js";
import { makeMark } from "racing-viewer/models.js";

const SHOWN_CONTACTS = 4;
const MARKED = 4000; // [ms] for which a contact is marked
const ENDED = ["running", "off_track", "laps_done", "time_limit", "stalled", "wrong_way", "retired"]; // racing.sim.records.Ending
export const ENDINGS = { 1: "off the road", 2: "all laps done", 3: "out of time", 5: "wrong way", 6: "retired" };
export const STOOD = 4;

export const RACE = {
  touched(contact) {
    const [first, second] = contact.cars.map((number) => this.cars.find((car) => car.number === number));
    const name = (car) => (car.kind === "human" ? "you" : car.name);
    const blamed = contact.blame[0] > contact.blame[1] ? first : contact.blame[1] > contact.blame[0] ? second : null;
    const text = `${name(first)} and ${name(second)}, ${(contact.closing * this.scale).toFixed(1)} ${this.units}${blamed ? `, blame: ${name(blamed)}` : ""}`;
    this.contacts = [{ id: (this.noted = (this.noted ?? 0) + 1), text }, ...this.contacts].slice(0, SHOWN_CONTACTS);
    const mark = makeMark(this.facts.circuit.vehicle);
    mark.position.set(contact.x, contact.y, mark.position.z);
    this.scene?.add(mark);
    this.marks.push({ x: contact.x, y: contact.y, mark, until: performance.now() + MARKED });
  },
  over(results) {
    this.results = results.map((row) => ({
      ...row,
      name: row.number === this.cars.length - 1 ? "you" : row.name,
      colour: this.cars.find((car) => car.number === row.number)?.colour,
      time: row.time_s === null ? (ENDINGS[ENDED.indexOf(row.ended)] ?? row.ended) : clock(row.time_s),
      touched: row.contacts === 1 ? "1 contact" : `${row.contacts} contacts`,
    }));
    this.note(`The race is over: ${this.results[0].name} won. The next one begins`, 6000);
  },
  // The race is over for a car.
  overFor({ car: number, home }) {
    const car = this.cars.find((one) => one.number === number);
    if (car) Object.assign(car, home ? { gap: "home" } : { gap: "out", position: 0 });
    if (car?.kind !== "human") return;
    this.unseated = true;
    if (!home) this.note("You are out until the race is over; R begins another one", 6000);
  },
};
