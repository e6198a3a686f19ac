// The connection to the session: commands go out, events and numbers come in; when it is lost it is made anew.

const RETRY = 1000; // [ms]
const HEAD = ["time", "rate", "share", "paused", "driving"]; // racing.viewer.session.Session.head, after a message's kind
export const AFTER = 1 + HEAD.length; // where a message goes on

export class Connection {
  // on: {hello(facts), event(facts), state(head), connected(yes, why)}
  constructor(on) {
    this.on = on;
    this.head = { time: 0, rate: 1, share: 1, paused: false, driving: false };
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
    if (typeof data !== "string") {
      const values = new Float32Array(data, 0, Math.floor(data.byteLength / 4)); // bytes of a picture may follow
      if (this.take(values[0], values, data)) this.on.state(this.head);
      return;
    }
    const facts = JSON.parse(data);
    if (facts.event === "hello") {
      this.on.connected(true, "");
      this.greeted(facts);
      this.on.hello(facts);
    } else if (facts.event === "refused") this.refused = facts.text; // to ask again would change nothing
    else this.on.event(facts);
  }

  takeHead(values) {
    HEAD.forEach((name, k) => (this.head[name] = values[1 + k]));
    this.head = { ...this.head, paused: this.head.paused > 0, driving: this.head.driving > 0 };
  }

  // For those who know more: a session begins; numbers of a kind, returns whether they are a new state.
  greeted() {}
  take() { return false; }
}
