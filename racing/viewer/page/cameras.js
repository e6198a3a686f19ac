// Where the picture is taken from: behind the car, from its seat, from above, from beside the track, anywhere.
import { OrbitControls, THREE } from "nicegui-scene";

export const CAMERAS = ["chase", "cockpit", "top", "TV", "free"];
const TV_EVERY = 55; // [units] of the track between two cameras

export class Cameras {
  constructor(canvas, circuit, facts) {
    this.camera = new THREE.PerspectiveCamera(60, 1, 0.05 * circuit.unit, 60 * circuit.extent + 1000 * circuit.unit);
    this.camera.up.set(0, 0, 1);
    this.unit = circuit.unit;
    this.size = facts.vehicle.length / 1.9;
    this.extent = circuit.extent;
    this.kind = "chase";
    this.yaw = null;
    this.stands = stands(circuit, facts);
    this.orbit = new OrbitControls(this.camera, canvas);
    this.orbit.enabled = false;
    this.orbit.enableDamping = true;
    this.orbit.maxPolarAngle = 1.5;
    this.orbit.keys = {};
  }

  choose(kind) {
    this.kind = kind;
    this.orbit.enabled = kind === "free";
    this.camera.up.set(0, 0, 1);
    this.yaw = null;
    this.fresh = true;
  }

  // pose: of the watched car; seconds since the last picture
  aim(pose, seconds) {
    const { camera, size, unit } = this;
    const [cos, sin] = [Math.cos(pose.yaw), Math.sin(pose.yaw)];
    const at = (forward, left, up) => [pose.x + cos * forward - sin * left, pose.y + sin * forward + cos * left, up];
    let angle = 60;
    if (this.kind === "chase") {
      const turn = this.yaw === null ? 0 : ((pose.yaw - this.yaw + 3 * Math.PI) % (2 * Math.PI)) - Math.PI;
      this.yaw = this.yaw === null ? pose.yaw : this.yaw + turn * (1 - Math.exp(-seconds * 5));
      const [c, s] = [Math.cos(this.yaw), Math.sin(this.yaw)];
      camera.position.set(pose.x - c * 5.4 * size, pose.y - s * 5.4 * size, 2.35 * size);
      camera.lookAt(pose.x + c * 4 * size, pose.y + s * 4 * size, 0.8 * size);
      angle = 62;
    } else if (this.kind === "cockpit") {
      camera.position.set(...at(-0.3 * size, 0, 0.99 * size));
      camera.lookAt(...at(4 * size, pose.steer * 2 * size, 0.22 * size));
      angle = 72;
    } else if (this.kind === "top") {
      camera.up.set(0, 1, 0);
      camera.position.set(pose.x, pose.y, 46 * unit);
      camera.lookAt(pose.x, pose.y, 0);
      angle = 50;
    } else if (this.kind === "TV") {
      const stand = this.stands.reduce((best, one) => (distance(one, pose) < distance(best, pose) ? one : best));
      camera.position.set(...stand);
      camera.lookAt(pose.x, pose.y, 0.5 * size);
      angle = Math.min(55, Math.max(8, (2 * Math.atan((9 * size) / (distance(stand, pose) + 1)) * 180) / Math.PI));
    } else {
      const target = new THREE.Vector3(pose.x, pose.y, 0.4 * size);
      if (this.fresh) camera.position.set(...at(-14 * size, 8 * size, 8 * size));
      else camera.position.add(target.clone().sub(this.orbit.target)); // it goes along with the car
      this.orbit.target.copy(target);
      this.orbit.update();
    }
    this.fresh = false;
    if (Math.abs(camera.fov - angle) > 0.05) {
      camera.fov = angle;
      camera.updateProjectionMatrix();
    }
  }
}

const distance = (place, pose) => Math.hypot(place[0] - pose.x, place[1] - pose.y);

function stands(circuit, { points, left, right, s, kerbs, width }) {
  const { unit, normals } = circuit;
  const places = [];
  let next = 0;
  points.forEach((_, k) => {
    if (s[k] < next) return;
    next = s[k] + TV_EVERY * unit;
    const [line, way] = kerbs[k] > 0 ? [right, -1] : [left, 1];
    const place = [line[k][0] + normals[k][0] * way * 6 * unit, line[k][1] + normals[k][1] * way * 6 * unit];
    const room = points.every(([x, y]) => (x - place[0]) ** 2 + (y - place[1]) ** 2 > (width / 2 + 2 * unit) ** 2);
    if (room) places.push([...place, 4.5 * unit]);
  });
  return places.length ? places : [[points[0][0], points[0][1], 12 * unit]];
}
