"use strict";
// A ball-and-stick viewer on a plain 2-D canvas: no WebGL, no library, nothing loaded from elsewhere.
function moleculeViewer(root) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const canvas = root.querySelector("canvas"), context = canvas.getContext("2d");
  const button = root.querySelector("button.play"), slider = root.querySelector("input"), clock = root.querySelector("output");
  const bytes = Uint8Array.from(atob(data.positions), c => c.charCodeAt(0));
  const values = new Int32Array(bytes.buffer), count = data.symbols.length;
  slider.max = data.frames - 1;

  let extent = 1;
  for (let n = 0; n < count; n++) extent = Math.max(extent, Math.hypot(values[3 * n], values[3 * n + 1], values[3 * n + 2]) / 1000);
  if (data.cell) extent = Math.max(extent, 0.5 * Math.hypot(...[0, 1, 2].map(k => data.cell.reduce((sum, row) => sum + Math.abs(row[k]), 0))));
  const radii = data.radii.map(radius => (data.cell ? 0.38 : 0.42) * (0.35 + 0.65 * radius / 0.76));
  const start = () => multiply(turn(0, -0.55), turn(1, 0.65));
  let rotation = start(), zoom = 1, frame = 0, playing = false, last = 0;

  function turn(axis, angle) {
    const c = Math.cos(angle), s = Math.sin(angle);
    return axis === 0 ? [[1, 0, 0], [0, c, -s], [0, s, c]] : [[c, 0, s], [0, 1, 0], [-s, 0, c]];
  }
  function multiply(a, b) {
    return a.map(row => [0, 1, 2].map(j => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
  }
  const sprites = {};
  function sprite(color) {
    if (sprites[color]) return sprites[color];
    const ball = document.createElement("canvas"), c = ball.getContext("2d");
    ball.width = ball.height = 128;
    const shade = c.createRadialGradient(46, 42, 4, 64, 64, 64);
    shade.addColorStop(0, mix(color, 255, 0.75));
    shade.addColorStop(0.35, mix(color, 255, 0.12));
    shade.addColorStop(0.85, mix(color, 0, 0.30));
    shade.addColorStop(1, mix(color, 0, 0.55));
    c.fillStyle = shade;
    c.beginPath(); c.arc(64, 64, 62, 0, 2 * Math.PI); c.fill();
    return sprites[color] = ball;
  }
  function mix(color, target, share) {
    const channel = k => Math.round(parseInt(color.slice(1 + 2 * k, 3 + 2 * k), 16) * (1 - share) + target * share);
    return `rgb(${channel(0)},${channel(1)},${channel(2)})`;
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const scale = 0.46 * Math.min(width, height) / extent * zoom, far = 5 * extent;
    function project(x, y, z) {
      const [a, b, c] = rotation.map(row => row[0] * x + row[1] * y + row[2] * z);
      const near = scale * far / Math.max(far - c, 0.2 * far);
      return {x: width / 2 + near * a, y: height / 2 - near * b, z: c, near};
    }
    const place = n => [0, 1, 2].map(k => values[3 * (frame * count + n) + k] / 1000);
    const things = [];
    for (let n = 0; n < count; n++) { const atom = project(...place(n)); things.push({z: atom.z, atom, n}); }
    for (const [i, j] of data.bonds) {
      const a = place(i), b = place(j), length = Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
      const between = share => project(...[0, 1, 2].map(k => a[k] + share * (b[k] - a[k])));
      // Sticks begin at the surfaces of the balls, so that sorting by depth is right from every side.
      const middle = between(0.5), from = between(Math.min(0.5, 0.93 * radii[i] / length)), to = between(Math.max(0.5, 1 - 0.93 * radii[j] / length));
      things.push({z: (from.z + middle.z) / 2, from, to: middle, n: i}, {z: (to.z + middle.z) / 2, from: to, to: middle, n: j});
    }
    if (data.cell) drawCell(project);
    things.sort((a, b) => a.z - b.z);
    for (const thing of things) thing.atom ? drawAtom(thing) : drawBond(thing);
    slider.value = frame;
    clock.textContent = ((data.start_fs + frame * data.interval_fs) / 1000).toFixed(3) + " ps";
  }
  function drawAtom({atom, n}) {
    const radius = radii[n] * atom.near;
    context.drawImage(sprite(data.colors[n]), atom.x - radius, atom.y - radius, 2 * radius, 2 * radius);
  }
  function drawBond({from, to, n}) {
    const wide = 0.19 * (from.near + to.near) / 2;
    for (const [width, color] of [[wide, mix(data.colors[n], 0, 0.5)], [0.78 * wide, mix(data.colors[n], 0, 0.12)], [0.3 * wide, mix(data.colors[n], 255, 0.35)]]) {
      context.strokeStyle = color; context.lineWidth = width;
      context.beginPath(); context.moveTo(from.x, from.y); context.lineTo(to.x, to.y); context.stroke();
    }
  }
  function drawCell(project) {
    const corner = bits => {
      const p = [0, 1, 2].map(k => data.cell.reduce((sum, row, axis) => sum + ((bits >> axis & 1) - 0.5) * row[k], 0));
      return project(...p);
    };
    context.strokeStyle = "rgba(128,138,150,0.7)"; context.lineWidth = 1;
    for (let bits = 0; bits < 8; bits++) for (let axis = 0; axis < 3; axis++) if (!(bits >> axis & 1)) {
      const a = corner(bits), b = corner(bits | 1 << axis);
      context.beginPath(); context.moveTo(a.x, a.y); context.lineTo(b.x, b.y); context.stroke();
    }
  }

  function tick(now) {
    if (!playing) return;
    if (now - last > 40) { frame = (frame + 1) % data.frames; last = now; draw(); }
    requestAnimationFrame(tick);
  }
  function play(on) {
    playing = on && data.frames > 1;
    button.textContent = playing ? "Pause" : "Play";
    if (playing) requestAnimationFrame(tick);
  }
  button.addEventListener("click", () => play(!playing));
  root.querySelector("button.reset").addEventListener("click", () => { rotation = start(); zoom = 1; draw(); });
  slider.addEventListener("input", () => { play(false); frame = Number(slider.value); draw(); });

  const held = new Map();
  let spread = 0;
  canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, event); spread = 0; });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, event => held.delete(event.pointerId));
  canvas.addEventListener("pointermove", event => {
    const before = held.get(event.pointerId);
    if (!before) return;
    held.set(event.pointerId, event);
    if (held.size === 2) {
      const [a, b] = held.values(), now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (spread) scaleBy(now / spread);
      spread = now;
    } else rotate((event.clientX - before.clientX) * 0.01, (event.clientY - before.clientY) * 0.01);
  });
  canvas.addEventListener("wheel", event => { event.preventDefault(); scaleBy(Math.exp(-event.deltaY * 0.0015)); }, {passive: false});
  canvas.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]}[event.key];
    if (step) { event.preventDefault(); rotate(...step); }
    if (event.key === "+" || event.key === "-") scaleBy(event.key === "+" ? 1.1 : 1 / 1.1);
    if (event.key === " ") { event.preventDefault(); play(!playing); }
  });
  function rotate(across, down) { rotation = multiply(turn(0, down), multiply(turn(1, across), rotation)); draw(); }
  function scaleBy(factor) { zoom = Math.min(8, Math.max(0.3, zoom * factor)); draw(); }

  new ResizeObserver(draw).observe(canvas);
  draw();
  play(!window.matchMedia("(prefers-reduced-motion: reduce)").matches);
  root.dataset.ready = "true";
}
document.querySelectorAll(".viewer").forEach(moleculeViewer);
