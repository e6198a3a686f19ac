// The cars: built as a kart of 1.9 m x 1.4 m, stretched to the vehicle's size. x forward, y left, z up; the ground is z = 0.
import { THREE } from "nicegui-scene";
import { HUMAN } from "racing-viewer/colours.js";

const LENGTH = 1.9;
const WIDTH = 1.4;
const WHEEL_TURN = 3.2; // turns of the steering wheel for one of the road wheels

export function makeCar(vehicle, colour, ghost) {
  const material = (hex, roughness = 0.6) =>
    new THREE.MeshStandardMaterial({
      color: hex,
      roughness,
      metalness: 0.1,
      transparent: ghost,
      opacity: ghost ? 0.38 : 1,
      depthWrite: !ghost,
    });
  const paint = material(colour, 0.35);
  const dark = material("#22262b");
  const tyre = material("#15171a", 0.9);
  const light = material("#e8eaed", 0.4);
  const group = new THREE.Group();
  const add = (geometry, look, x, y, z, parent = group) => {
    const mesh = new THREE.Mesh(geometry, look);
    mesh.position.set(x, y, z);
    mesh.castShadow = !ghost;
    parent.add(mesh);
    return mesh;
  };
  const box = (l, w, h) => new THREE.BoxGeometry(l, w, h);
  const sx = vehicle.length / LENGTH;
  const front = vehicle.front_axle / sx;
  const rear = -vehicle.rear_axle / sx;
  add(box(1.45, 0.62, 0.07), dark, 0.02, 0, 0.13);
  for (const side of [1, -1]) add(box(0.72, 0.2, 0.2), paint, 0.05, side * 0.5, 0.2);
  add(box(0.26, 1.0, 0.15), paint, 0.8, 0, 0.17);
  add(box(0.5, 0.3, 0.16), paint, 0.62, 0, 0.3).rotation.y = 0.28; // the nose's panel, with its number in white
  add(box(0.2, 0.2, 0.02), light, 0.66, 0, 0.385).rotation.y = 0.28;
  add(box(0.1, 1.25, 0.16), dark, -0.86, 0, 0.2);
  add(box(0.3, 0.26, 0.28), light, -0.42, -0.42, 0.32);
  add(box(0.12, 0.42, 0.5), dark, -0.36, 0, 0.42).rotation.y = -0.3; // the seat's back
  add(new THREE.CapsuleGeometry(0.17, 0.32, 4, 10).rotateX(Math.PI / 2), dark, -0.22, 0, 0.55).rotation.y = -0.22;
  const helmet = add(new THREE.SphereGeometry(0.155, 18, 14), paint, -0.15, 0, 0.93);
  helmet.scale.set(1.1, 0.95, 1);
  const visor = add(new THREE.SphereGeometry(0.157, 14, 8, Math.PI - 0.9, 1.8, 1.25, 0.5), dark, -0.135, 0, 0.93);
  visor.rotation.x = Math.PI / 2;
  const column = new THREE.Group();
  column.position.set(0.2, 0, 0.55);
  column.rotation.y = -1.0; // towards the driver
  const wheel = new THREE.Group();
  add(new THREE.TorusGeometry(0.15, 0.022, 8, 24), dark, 0, 0, 0, wheel);
  add(box(0.28, 0.035, 0.02), light, 0, 0, 0, wheel);
  add(box(0.035, 0.15, 0.02), light, 0, 0.07, 0, wheel);
  column.add(wheel);
  group.add(column);
  for (const side of [1, -1]) {
    const arm = add(new THREE.CapsuleGeometry(0.045, 0.42, 3, 8), paint, 0.0, side * 0.2, 0.62);
    arm.rotation.set(side * 0.12, 0.0, Math.PI / 2 - side * 0.22);
  }
  const wheels = [];
  const makeWheel = (x, y, radius, width, steers) => {
    const hub = new THREE.Group();
    hub.position.set(x, y, radius);
    const spin = new THREE.Group();
    const rubber = add(new THREE.CylinderGeometry(radius, radius, width, 20), tyre, 0, 0, 0, spin);
    add(new THREE.CylinderGeometry(radius * 0.55, radius * 0.55, width * 1.04, 6), light, 0, 0, 0, spin);
    rubber.receiveShadow = false;
    hub.add(spin);
    group.add(hub);
    wheels.push({ hub, spin, radius, steers });
  };
  for (const side of [1, -1]) {
    makeWheel(front, side * 0.56, 0.135, 0.14, true);
    makeWheel(rear, side * 0.57, 0.145, 0.21, false);
  }
  group.scale.set(sx, vehicle.width / WIDTH, (sx + vehicle.width / WIDTH) / 2);
  let rolled = 0;
  return {
    group,
    wheel,
    helmet: [helmet, visor],
    // pose: x, y [m], yaw, steer [rad], v [m/s]; seconds since the last one
    show(pose, seconds) {
      group.position.set(pose.x, pose.y, 0);
      group.rotation.z = pose.yaw;
      wheel.rotation.z = pose.steer * WHEEL_TURN;
      rolled += (pose.v * seconds) / (0.14 * sx);
      for (const { hub, spin, steers } of wheels) {
        hub.rotation.z = steers ? pose.steer : 0;
        spin.rotation.y = rolled;
      }
    },
    dispose() {
      group.traverse((part) => part.geometry?.dispose());
      for (const look of [paint, dark, tyre, light]) look.dispose();
    },
  };
}

// A ring on the road, where cars have touched.
export function makeMark(vehicle) {
  const size = vehicle.length;
  const look = new THREE.MeshBasicMaterial({ color: HUMAN, transparent: true, opacity: 0.85, depthWrite: false, side: THREE.DoubleSide });
  const ring = new THREE.Mesh(new THREE.RingGeometry(0.75 * size, size, 32), look);
  ring.position.z = 0.05 * size;
  return ring;
}
