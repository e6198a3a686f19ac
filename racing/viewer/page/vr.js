// The cockpit in a headset (WebXR): its pose is the head's, seen from the driver's seat; controllers are wheel and pedals.
import { THREE } from "nicegui-scene";

const EYE = [-0.3, 0.99]; // [kart lengths / 1.9] of the driver's eyes: ahead of the car's centre, above the road
const [TRIGGER, STICK, TAKE, AGAIN] = [0, 3, 4, 5]; // buttons of "xr-standard": pedal; press: straight ahead is there; A or X; B or Y
const [WIDE, HIGH] = [512, 192]; // [px] of the display on the dashboard

export async function offersVR() {
  try {
    return Boolean(await navigator.xr?.isSessionSupported("immersive-vr"));
  } catch {
    return false;
  }
}

export class VR {
  // near, far: what is drawn [m]; on: {frame(), away(), ended(), take(), restart()}
  constructor(renderer, hands, near, far, on) {
    Object.assign(this, { renderer, hands, on });
    this.rig = new THREE.Group();
    this.camera = new THREE.PerspectiveCamera(70, 1, near, far);
    this.rig.add(this.camera);
    this.dash = makeDash();
    this.rig.add(this.dash.mesh);
    this.pressed = new Set();
    this.frames = 0;
  }

  // To be called from a click: the browser asks then.
  async enter() {
    const session = await navigator.xr.requestSession("immersive-vr");
    this.session = session;
    session.addEventListener("end", () => this.left());
    session.addEventListener("visibilitychange", () => session.visibilityState === "hidden" && this.on.away());
    const { xr } = this.renderer;
    xr.enabled = true;
    xr.setReferenceSpaceType("local");
    await xr.setSession(session);
    this.base = xr.getReferenceSpace();
    this.centred = false;
    this.base.addEventListener?.("reset", () => (this.centred = false));
    this.renderer.setAnimationLoop(() => {
      if (!this.centred) this.centre();
      this.steer();
      this.on.frame();
    });
  }

  async leave() {
    await this.session?.end();
  }

  left() {
    this.session = null;
    this.hands.controllers(null);
    this.renderer.setAnimationLoop(null);
    this.renderer.xr.setReferenceSpace(null);
    this.renderer.xr.enabled = false;
    this.rig.removeFromParent();
    this.on.ended();
  }

  dispose() {
    this.leave();
    this.dash.dispose();
  }

  // Where the head is now, and where it looks, is the driver's seat and straight ahead.
  centre() {
    const pose = this.renderer.xr.getFrame()?.getViewerPose(this.base);
    if (!pose) return;
    const { position, orientation } = pose.transform;
    const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(new THREE.Quaternion(orientation.x, orientation.y, orientation.z, orientation.w));
    const half = Math.atan2(-ahead.x, -ahead.z) / 2;
    const there = new XRRigidTransform({ x: position.x, y: position.y, z: position.z }, { x: 0, y: Math.sin(half), z: 0, w: Math.cos(half) });
    this.renderer.xr.setReferenceSpace(this.base.getOffsetReferenceSpace(there));
    this.centred = true;
  }

  // Left and right trigger brake and accelerate; the thumbstick that is further from its middle steers.
  steer() {
    let [steer, throttle, brake] = [0, 0, 0];
    const held = new Set();
    for (const { gamepad, handedness } of this.session?.inputSources ?? []) {
      if (!gamepad) continue;
      const across = this.hands.clear(gamepad.axes[2] ?? gamepad.axes[0] ?? 0);
      if (Math.abs(across) > Math.abs(steer)) steer = across;
      const pull = gamepad.buttons[TRIGGER]?.value ?? 0;
      if (handedness === "left") brake = pull;
      else throttle = pull;
      for (const button of [STICK, TAKE, AGAIN]) if (gamepad.buttons[button]?.pressed) held.add(button);
    }
    const isNew = (button) => held.has(button) && !this.pressed.has(button);
    if (isNew(STICK)) this.centred = false;
    if (isNew(TAKE)) this.on.take();
    if (isNew(AGAIN)) this.on.restart();
    this.pressed = held;
    this.hands.controllers([steer, throttle - brake]);
  }

  // pose: of the car that is watched; size: of the car, 1: a kart; texts: for the dashboard
  draw(scene, pose, size, texts) {
    if (this.rig.parent !== scene) scene.add(this.rig);
    const [cos, sin] = [Math.cos(pose.yaw), Math.sin(pose.yaw)];
    const [right, up, back] = [[sin, -cos, 0], [0, 0, 1], [-cos, -sin, 0]].map((axis) => new THREE.Vector3(...axis)); // of WebXR: x, y, z
    this.rig.quaternion.setFromRotationMatrix(new THREE.Matrix4().makeBasis(right, up, back));
    this.rig.position.set(pose.x + cos * EYE[0] * size, pose.y + sin * EYE[0] * size, EYE[1] * size);
    this.rig.scale.setScalar(size); // whoever sits in a small car is small
    if (this.frames++ % 6 === 0) this.dash.write(texts);
    this.renderer.render(scene, this.camera);
  }

  // For tests: where each eye is [m], and what part of the picture it has.
  told() {
    if (!this.session) return null;
    return this.renderer.xr.getCamera().cameras.map((eye) => {
      const at = new THREE.Vector3().setFromMatrixPosition(eye.matrixWorld);
      const ahead = new THREE.Vector3(0, 0, -1).transformDirection(eye.matrixWorld);
      return { at: at.toArray(), ahead: ahead.toArray(), part: [eye.viewport.x, eye.viewport.y, eye.viewport.z, eye.viewport.w] };
    });
  }
}

// A display behind the steering wheel: two lines of text.
function makeDash() {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDE, height: HIGH });
  const pen = canvas.getContext("2d");
  const texture = new THREE.CanvasTexture(canvas);
  const material = new THREE.MeshBasicMaterial({ map: texture, fog: false });
  const mesh = new THREE.Mesh(new THREE.PlaneGeometry(0.3, (0.3 * HIGH) / WIDE), material);
  mesh.position.set(0, -0.32, -0.78);
  mesh.rotation.x = -0.4;
  let shown = "";
  return {
    mesh,
    write(texts) {
      if (texts.join() === shown) return;
      shown = texts.join();
      pen.fillStyle = "#0c0f12";
      pen.fillRect(0, 0, WIDE, HIGH);
      pen.fillStyle = "#ffffff";
      pen.textAlign = "center";
      pen.font = "600 84px system-ui, sans-serif";
      pen.fillText(texts[0], WIDE / 2, 88);
      pen.font = "46px system-ui, sans-serif";
      pen.fillText(texts[1], WIDE / 2, 158);
      texture.needsUpdate = true;
    },
    dispose() {
      mesh.geometry.dispose();
      material.dispose();
      texture.dispose();
    },
  };
}
