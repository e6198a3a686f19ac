// How numbers are written, and drawn as bars.

export const limited = (value) => Math.max(-1, Math.min(1, value));
export const signed = (value) => (Number.isFinite(value) ? `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)} s` : "–");

export function clock(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")}`;
}

// value: -1 to 1, from the middle of its meter.
export function bar(element, value, colour) {
  element.style.width = `${50 * Math.abs(value)}%`;
  element.style.left = `${value < 0 ? 50 - 50 * Math.abs(value) : 50}%`;
  element.style.background = colour;
}
