"use strict";
// The attention explorer. The page holds, for each layer and image, the maps of a grid
// of points ("kept" rows and columns of the queries) in levels of each map's maximum.
(() => {
  const root = document.getElementById("explorer");
  if (!root) return;
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const $ = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const colors = bytes(data.colors);
  const stage = $("explorer-stage");
  const panels = [...root.querySelectorAll(".panel")].slice(1);
  const finest = data.layers.reduce((a, b) => (b.kept[1].length > a.kept[1].length ? b : a));
  const [rows, columns] = finest.kept;
  const state = { image: 0, row: rows.length >> 1, column: columns.length >> 1, held: false };
  const short = (x) => String(Number(x.toPrecision(3)));

  // Levels and maxima of a layer's maps of one image, unpacked when first needed.
  const unpacked = new Map();
  function mapsOf(layer) {
    const key = `${layer.name} ${state.image}`;
    if (!unpacked.has(key)) {
      let levels = bytes(layer.levels[state.image]);
      if (layer.bits === 4) {
        const nibbles = new Uint8Array(2 * levels.length);
        levels.forEach((pair, i) => {
          nibbles[2 * i] = 17 * (pair >> 4);
          nibbles[2 * i + 1] = 17 * (pair & 15);
        });
        levels = nibbles;
      }
      const peaks = new Float32Array(bytes(layer.peaks[state.image]).buffer);
      unpacked.set(key, { levels, peaks });
    }
    return unpacked.get(key);
  }

  // The kept row or column whose query is nearest to a part of the image's side.
  function nearest(kept, side, part) {
    let best = 0;
    kept.forEach((query, i) => {
      const far = (j) => Math.abs((kept[j] + 0.5) / side - part);
      if (far(i) < far(best)) best = i;
    });
    return best;
  }

  // The map of the chosen point in one layer, and what there is to say about it.
  function read(layer) {
    const { levels, peaks } = mapsOf(layer);
    const y = (rows[state.row] + 0.5) / finest.queries[0];
    const x = (columns[state.column] + 0.5) / finest.queries[1];
    const row = nearest(layer.kept[0], layer.queries[0], y);
    const column = nearest(layer.kept[1], layer.queries[1], x);
    const index = row * layer.kept[1].length + column;
    const [height, width] = layer.keys;
    const count = height * width;
    const map = levels.subarray(index * count, (index + 1) * count);
    const query = {
      y: (layer.kept[0][row] + 0.5) / layer.queries[0],
      x: (layer.kept[1][column] + 0.5) / layer.queries[1],
    };
    const key = (k) => ({ y: (Math.floor(k / width) + 0.5) / height, x: ((k % width) + 0.5) / width });
    let total = 0, away = 0, uniform = 0, top = 0;
    map.forEach((level, k) => {
      const far = Math.hypot(key(k).y - query.y, key(k).x - query.x) / Math.SQRT2;
      total += level;
      away += level * far;
      uniform += far / count;
      if (level > map[top]) top = k;
    });
    // Where the highest tenth of the attention lies; equal cells belong together.
    const falling = [...map].sort((a, b) => b - a);
    let mass = 0, least = 255;
    for (const level of falling) {
      least = level;
      mass += level;
      if (mass >= total / 10) break;
    }
    const goal = { y: 0, x: 0 };
    let kept = 0;
    map.forEach((level, k) => {
      if (level < least) return;
      kept += level;
      goal.y += level * key(k).y;
      goal.x += level * key(k).x;
    });
    return {
      map, query, peak: peaks[index], highest: Math.max(...peaks), count,
      goal: { y: goal.y / kept, x: goal.x / kept },
      row: Math.floor(top / width) + 1, column: (top % width) + 1,
      away: away / total, uniform,
    };
  }

  function paint(canvas, found) {
    const pixels = new ImageData(canvas.width, canvas.height);
    const part = $("explorer-same").checked ? found.peak / found.highest : 1;
    found.map.forEach((level, k) => {
      const color = 3 * Math.round(level * part);
      pixels.data.set(colors.subarray(color, color + 3), 4 * k);
      pixels.data[4 * k + 3] = 255;
    });
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  function point(frame, place, [height, width]) {
    const mark = frame.querySelector(".query");
    Object.assign(mark.style, {
      left: `${100 * place.x}%`, top: `${100 * place.y}%`,
      width: `${100 / width}%`, height: `${100 / height}%`,
    });
    mark.classList.toggle("held", state.held);
  }

  function draw(speak) {
    const spoken = [];
    const where = `Point in row ${rows[state.row] + 1}, column ${columns[state.column] + 1} of ${finest.queries.join("\u00d7")}`;
    data.layers.forEach((layer, i) => {
      const found = read(layer);
      const frame = panels[i].querySelector(".frame");
      paint(frame.querySelector("canvas"), found);
      point(frame, found.query, layer.queries);
      frame.querySelectorAll("line").forEach((line) => {
        for (const [end, place] of [[1, found.query], [2, found.goal]]) {
          line.setAttribute(`x${end}`, 100 * place.x);
          line.setAttribute(`y${end}`, 100 * place.y);
        }
      });
      const text = `Highest weight ${short(found.peak)}, ${short(found.peak * found.count)}\u00a0\u00d7 uniform, in row ${found.row}, column ${found.column} of the keys. Mean distance ${short(found.away)} of the diagonal; uniform attention: ${short(found.uniform)}.`;
      panels[i].querySelector(".readout").textContent = text;
      spoken.push(`${layer.name}: ${text}`);
      if (layer === finest) point(stage, found.query, layer.queries);
    });
    $("explorer-where").textContent = `${where}${state.held ? ", held" : ""}.`;
    $("explorer-top").textContent = $("explorer-same").checked ? " the image\u2019s maximum" : " the map\u2019s maximum";
    if (speak) $("explorer-live").textContent = `${where}. ${spoken.join(" ")}`;
  }

  function choose(image) {
    state.image = image;
    const uri = root.querySelectorAll(".choices img")[image].src;
    for (const picture of root.querySelectorAll("#explorer-picture, .under")) picture.src = uri;
    $("explorer-picture").alt = data.labels[image];
    draw(true);
  }

  function follow(event) {
    const box = $("explorer-picture").getBoundingClientRect();
    state.row = nearest(rows, finest.queries[0], (event.clientY - box.top) / box.height);
    state.column = nearest(columns, finest.queries[1], (event.clientX - box.left) / box.width);
    draw(false);
  }

  stage.addEventListener("pointermove", (event) => {
    if (!state.held || event.buttons) follow(event);
  });
  stage.addEventListener("pointerdown", (event) => {
    // A click of a mouse holds the point, so that one can look at the maps.
    state.held = event.pointerType === "mouse" && !state.held;
    if (event.pointerType !== "mouse") stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("keydown", (event) => {
    const size = event.shiftKey ? 4 : 1;
    const moves = {
      ArrowUp: [-size, 0], ArrowDown: [size, 0], ArrowLeft: [0, -size], ArrowRight: [0, size],
      Home: [0, -columns.length], End: [0, columns.length],
    };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
    state.row = within(state.row + move[0], rows.length);
    state.column = within(state.column + move[1], columns.length);
    draw(true);
  });
  root.addEventListener("change", (event) => {
    if (event.target.name === "explorer-image") choose(Number(event.target.value));
    root.classList.toggle("over", $("explorer-over").checked);
    draw(false);
  });
  $("explorer-static").hidden = true;
  root.hidden = false;
  const checked = root.querySelector('input[name="explorer-image"]:checked');
  choose(checked ? Number(checked.value) : 0);
})();
