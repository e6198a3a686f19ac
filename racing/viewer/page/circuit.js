// The circuit and what stands around it, as three.js objects. z is up, lengths in metres.
import { THREE } from "nicegui-scene";

// A generator of equal numbers for equal circuits, so that trees stand still when the page is loaded again.
function randomOf(text) {
  let seed = 2166136261;
  for (const letter of text) seed = Math.imul(seed ^ letter.charCodeAt(0), 16777619);
  return () => {
    seed = Math.imul(seed ^ (seed >>> 15), 2246822507) + 0x9e3779b9;
    return ((seed ^ (seed >>> 13)) >>> 0) / 4294967296;
  };
}

function speckled(size, base, spread, random) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(size, size);
  for (let k = 0; k < size * size; k++) {
    const off = (random() - 0.5) * spread;
    for (let c = 0; c < 3; c++) picture.data[4 * k + c] = base[c] + off * (c === 2 ? 0.8 : 1);
    picture.data[4 * k + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  const texture = new THREE.CanvasTexture(canvas);
  texture.wrapS = texture.wrapT = THREE.RepeatWrapping;
  texture.colorSpace = THREE.SRGBColorSpace;
  texture.anisotropy = 4;
  return texture;
}

// A closed strip between two lines of points; u across, v along [m] / scale.
function strip(inner, outer, s, length, z, scale) {
  const count = inner.length;
  const places = [];
  const uv = [];
  const faces = [];
  for (let k = 0; k <= count; k++) {
    const i = k % count;
    places.push(inner[i][0], inner[i][1], z, outer[i][0], outer[i][1], z);
    const v = (k === count ? length : s[i]) / scale;
    uv.push(0, v, 1, v);
    if (k < count) faces.push(2 * k, 2 * k + 1, 2 * k + 2, 2 * k + 1, 2 * k + 3, 2 * k + 2);
  }
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.Float32BufferAttribute(places, 3));
  geometry.setAttribute("uv", new THREE.Float32BufferAttribute(uv, 2));
  geometry.setIndex(faces);
  geometry.computeVertexNormals();
  return geometry;
}

export function makeCircuit(facts) {
  const { points, left, right, s, length, width, kerbs } = facts;
  const unit = width / 10; // circuits are drawn as if they were ten metres wide
  const random = randomOf(facts.name);
  const group = new THREE.Group();
  const count = points.length;
  const normals = points.map((_, k) => {
    const away = [left[k][0] - right[k][0], left[k][1] - right[k][1]];
    const size = Math.hypot(...away) || 1;
    return [away[0] / size, away[1] / size];
  });
  const beside = (line, amount) => line.map(([x, y], k) => [x + normals[k][0] * amount, y + normals[k][1] * amount]);
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const bounds = { x: Math.min(...xs), y: Math.min(...ys), X: Math.max(...xs), Y: Math.max(...ys) };
  const extent = Math.max(bounds.X - bounds.x, bounds.Y - bounds.y);
  const middle = [(bounds.x + bounds.X) / 2, (bounds.y + bounds.Y) / 2];

  // Grass, with a wide worn edge beside the road.
  const reach = extent * 1.5 + 60 * unit;
  const grass = speckled(128, [98, 136, 72], 34, random);
  grass.repeat.set((2 * reach) / (14 * unit), (2 * reach) / (14 * unit));
  const ground = new THREE.Mesh(new THREE.CircleGeometry(reach, 48), new THREE.MeshLambertMaterial({ map: grass }));
  ground.position.set(...middle, -0.03 * unit);
  ground.receiveShadow = true;
  group.add(ground);
  const flat = (geometry, look, order) => {
    const mesh = new THREE.Mesh(geometry, look);
    mesh.receiveShadow = true;
    mesh.renderOrder = order;
    look.polygonOffset = true;
    look.polygonOffsetFactor = look.polygonOffsetUnits = -2 * order;
    look.side = THREE.DoubleSide;
    group.add(mesh);
    return mesh;
  };
  const verge = new THREE.MeshLambertMaterial({ color: "#8b9160" });
  flat(strip(beside(right, -1.1 * unit), beside(left, 1.1 * unit), s, length, 0, 4), verge, 1);
  const asphalt = speckled(128, [84, 87, 92], 26, random);
  const road = new THREE.MeshLambertMaterial({ map: asphalt });
  asphalt.repeat.set(2, 1);
  flat(strip(right, left, s, length, 0, 5 * unit), road, 2);
  // Lines along the edges; kerbs inside and outside of bends.
  const white = new THREE.MeshLambertMaterial({ color: "#f4f4f0" });
  flat(strip(beside(left, -0.22 * unit), beside(left, -0.04 * unit), s, length, 0.005 * unit, 4), white, 3);
  flat(strip(beside(right, 0.04 * unit), beside(right, 0.22 * unit), s, length, 0.005 * unit, 4), white, 3);
  const kerb = { places: [], colours: [], normals: [] };
  const ends = [new THREE.Color("#c23b22"), new THREE.Color("#f4f4f0")];
  for (let k = 0; k < count; k++) {
    if (!kerbs[k]) continue;
    const next = (k + 1) % count;
    for (const [line, way] of [[left, 1], [right, -1]]) {
      const parts = 2;
      for (let part = 0; part < parts; part++) {
        const corner = (share, out) => {
          const x = line[k][0] + share * (line[next][0] - line[k][0]);
          const y = line[k][1] + share * (line[next][1] - line[k][1]);
          return [x + normals[k][0] * way * out, y + normals[k][1] * way * out, out > 0 ? 0.05 * unit : 0.01 * unit];
        };
        const [a, b] = [part / parts, (part + 1) / parts];
        const quad = [corner(a, 0), corner(b, 0), corner(b, 0.75 * unit), corner(a, 0), corner(b, 0.75 * unit), corner(a, 0.75 * unit)];
        if (way < 0) [quad[1], quad[2], quad[4], quad[5]] = [quad[2], quad[1], quad[5], quad[4]]; // it faces up
        for (const place of quad) {
          kerb.places.push(...place);
          kerb.normals.push(0, 0, 1);
          kerb.colours.push(...ends[(2 * k + part) % 2].toArray());
        }
      }
    }
  }
  if (kerb.places.length) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.Float32BufferAttribute(kerb.places, 3));
    geometry.setAttribute("normal", new THREE.Float32BufferAttribute(kerb.normals, 3));
    geometry.setAttribute("color", new THREE.Float32BufferAttribute(kerb.colours, 3));
    flat(geometry, new THREE.MeshLambertMaterial({ vertexColors: true }), 3);
  }
  addStart(group, facts, unit, flat);

  // Distance to the centreline, on a coarse choice of its points.
  const sparse = points.filter((_, k) => k % Math.max(1, Math.floor(count / 800)) === 0);
  const free = (x, y, room) => sparse.every(([px, py]) => (px - x) ** 2 + (py - y) ** 2 > room * room);
  addTrees(group, { bounds, unit, width, extent, free, random });
  addTyres(group, { left, right, normals, kerbs, unit, width, points, free });
  addStand(group, { points, normals, width, unit, free, random });
  const hills = addHills(group, { middle, reach, random });
  return { group, unit, middle, extent, bounds, normals, hills };
}

function addStart(group, facts, unit, flat) {
  const [a, b] = facts.start;
  const canvas = document.createElement("canvas");
  canvas.width = 16;
  canvas.height = 2;
  const context = canvas.getContext("2d");
  for (let k = 0; k < 32; k++) {
    context.fillStyle = (k + Math.floor(k / 16)) % 2 ? "#111" : "#fff";
    context.fillRect(k % 16, Math.floor(k / 16), 1, 1);
  }
  const texture = new THREE.CanvasTexture(canvas);
  texture.magFilter = THREE.NearestFilter;
  texture.colorSpace = THREE.SRGBColorSpace;
  const size = Math.hypot(b[0] - a[0], b[1] - a[1]);
  const angle = Math.atan2(b[1] - a[1], b[0] - a[0]);
  const line = flat(new THREE.PlaneGeometry(size, 1.1 * unit), new THREE.MeshLambertMaterial({ map: texture }), 4);
  line.position.set((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, 0.01 * unit);
  line.rotation.z = angle;
  // A gantry above it.
  const dark = new THREE.MeshLambertMaterial({ color: "#2b3036" });
  const frame = new THREE.Group();
  const across = size + 3 * unit;
  for (const side of [-1, 1]) {
    const post = new THREE.Mesh(new THREE.BoxGeometry(0.35 * unit, 0.35 * unit, 5 * unit), dark);
    post.position.set((side * across) / 2, 0, 2.5 * unit);
    post.castShadow = true;
    frame.add(post);
  }
  const beam = new THREE.Mesh(new THREE.BoxGeometry(across, 0.3 * unit, 1 * unit), [dark, dark, dark, dark, dark, dark].map((look, k) =>
    k === 2 || k === 3 ? new THREE.MeshLambertMaterial({ map: texture }) : look));
  beam.position.z = 4.8 * unit;
  beam.castShadow = true;
  frame.add(beam);
  frame.position.set((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, 0);
  frame.rotation.z = angle;
  group.add(frame);
}

function addTrees(group, { bounds, unit, width, extent, free, random }) {
  const places = [];
  const margin = Math.min(0.35 * extent, 70 * unit) + 12 * unit;
  const area = (bounds.X - bounds.x + 2 * margin) * (bounds.Y - bounds.y + 2 * margin);
  const most = Math.min(420, area / (11 * unit) ** 2);
  for (let k = 0; k < 6 * most && places.length < most; k++) {
    const x = bounds.x - margin + random() * (bounds.X - bounds.x + 2 * margin);
    const y = bounds.y - margin + random() * (bounds.Y - bounds.y + 2 * margin);
    if (free(x, y, width / 2 + 7 * unit)) places.push([x, y, (0.7 + 0.8 * random()) * unit, random()]);
  }
  const crown = new THREE.InstancedMesh(
    new THREE.ConeGeometry(1.9, 5.2, 7).rotateX(Math.PI / 2).translate(0, 0, 4.1),
    new THREE.MeshLambertMaterial({ flatShading: true }), places.length);
  const round = new THREE.InstancedMesh(
    new THREE.IcosahedronGeometry(2.1, 1).scale(1, 1, 1.15).translate(0, 0, 4),
    new THREE.MeshLambertMaterial({ flatShading: true }), places.length);
  const trunk = new THREE.InstancedMesh(
    new THREE.CylinderGeometry(0.22, 0.3, 2.4, 6).rotateX(Math.PI / 2).translate(0, 0, 1.2),
    new THREE.MeshLambertMaterial({ color: "#5d4630" }), places.length);
  const matrix = new THREE.Matrix4();
  const none = new THREE.Matrix4().makeScale(0, 0, 0);
  places.forEach(([x, y, size, kind], k) => {
    matrix.makeScale(size, size, size).setPosition(x, y, 0);
    crown.setMatrixAt(k, kind < 0.55 ? matrix : none);
    round.setMatrixAt(k, kind < 0.55 ? none : matrix);
    trunk.setMatrixAt(k, matrix);
    const shade = new THREE.Color().setHSL(0.27 + 0.07 * kind, 0.38, 0.2 + 0.12 * ((kind * 7) % 1));
    crown.setColorAt(k, shade);
    round.setColorAt(k, shade);
  });
  for (const mesh of [crown, round, trunk]) {
    mesh.castShadow = true;
    group.add(mesh);
  }
}

// Stacks of tyres outside of bends.
function addTyres(group, { left, right, normals, kerbs, unit, width, points, free }) {
  const places = [];
  const every = Math.max(1, Math.round((1.2 * unit) / Math.max(1e-6, Math.hypot(points[1][0] - points[0][0], points[1][1] - points[0][1]))));
  for (let k = 0; k < points.length; k += every) {
    if (!kerbs[k]) continue;
    const [line, way] = kerbs[k] > 0 ? [right, -1] : [left, 1];
    const x = line[k][0] + normals[k][0] * way * 4.2 * unit;
    const y = line[k][1] + normals[k][1] * way * 4.2 * unit;
    if (free(x, y, width / 2 + 3 * unit)) places.push([x, y]);
  }
  const stack = new THREE.InstancedMesh(
    new THREE.CylinderGeometry(0.62, 0.62, 1.1, 10).rotateX(Math.PI / 2).translate(0, 0, 0.55),
    new THREE.MeshLambertMaterial(), Math.max(1, places.length));
  stack.count = places.length;
  const matrix = new THREE.Matrix4();
  places.forEach(([x, y], k) => {
    matrix.makeScale(unit, unit, unit).setPosition(x, y, 0);
    stack.setMatrixAt(k, matrix);
    stack.setColorAt(k, new THREE.Color(["#20242a", "#20242a", "#e8e8e4", "#3466a8"][k % 4]));
  });
  stack.castShadow = true;
  group.add(stack);
}

// A stand with people beside the first straight, on the side where there is room.
function addStand(group, { points, normals, width, unit, free, random }) {
  const at = Math.round(0.02 * points.length);
  for (const way of [1, -1]) {
    const away = width / 2 + 11 * unit;
    const x = points[at][0] + normals[at][0] * way * away;
    const y = points[at][1] + normals[at][1] * way * away;
    const along = [normals[at][1], -normals[at][0]];
    const corners = [-14, -7, 0, 7, 14].flatMap((far) => [-2, 8].map((back) => [
      x + (along[0] * far + normals[at][0] * way * back) * unit, y + (along[1] * far + normals[at][1] * way * back) * unit]));
    if (!corners.every(([cx, cy]) => free(cx, cy, width / 2 + 4 * unit))) continue;
    const stand = new THREE.Group();
    const concrete = new THREE.MeshLambertMaterial({ color: "#b9bcc0" });
    const people = [];
    for (let row = 0; row < 5; row++) {
      const step = new THREE.Mesh(new THREE.BoxGeometry(26, 1.6, 0.8 * (row + 1)), concrete);
      step.position.set(0, 1.6 * row, 0.4 * (row + 1));
      step.castShadow = step.receiveShadow = true;
      stand.add(step);
      for (let seat = 0; seat < 30; seat++) if (random() < 0.75) people.push([-12.6 + seat * 0.87, 1.6 * row, 0.8 * (row + 1)]);
    }
    const crowd = new THREE.InstancedMesh(
      new THREE.CapsuleGeometry(0.24, 0.5, 2, 6).rotateX(Math.PI / 2).translate(0, 0, 0.5), new THREE.MeshLambertMaterial(), people.length);
    const matrix = new THREE.Matrix4();
    people.forEach((place, k) => {
      crowd.setMatrixAt(k, matrix.makeTranslation(...place));
      crowd.setColorAt(k, new THREE.Color().setHSL(random(), 0.45, 0.4 + 0.3 * random()));
    });
    stand.add(crowd);
    const roof = new THREE.Mesh(new THREE.BoxGeometry(27, 8, 0.2), new THREE.MeshLambertMaterial({ color: "#7d2e23" }));
    roof.position.set(0, 3.6, 7.6);
    roof.rotation.x = 0.1;
    roof.castShadow = true;
    stand.add(roof);
    for (const side of [-13, 13]) {
      const post = new THREE.Mesh(new THREE.BoxGeometry(0.3, 0.3, 7.6), concrete);
      post.position.set(side, 6.8, 3.8);
      stand.add(post);
    }
    stand.scale.setScalar(unit);
    stand.position.set(x, y, 0);
    stand.rotation.z = Math.atan2(normals[at][1] * way, normals[at][0] * way) - Math.PI / 2;
    group.add(stand);
    return;
  }
}

function addHills(group, { middle, reach, random }) {
  const places = [];
  const faces = [];
  const steps = 72;
  const heights = Array.from({ length: steps }, () => (0.03 + 0.07 * random()) * reach);
  for (let k = 0; k <= steps; k++) {
    const angle = (2 * Math.PI * k) / steps;
    const [x, y] = [middle[0] + Math.cos(angle) * reach * 0.98, middle[1] + Math.sin(angle) * reach * 0.98];
    places.push(x, y, -1, x, y, heights[k % steps]);
    if (k < steps) faces.push(2 * k, 2 * k + 1, 2 * k + 2, 2 * k + 1, 2 * k + 3, 2 * k + 2);
  }
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.Float32BufferAttribute(places, 3));
  geometry.setIndex(faces);
  geometry.computeVertexNormals();
  const look = new THREE.MeshBasicMaterial({ side: THREE.DoubleSide });
  group.add(new THREE.Mesh(geometry, look));
  return look;
}
