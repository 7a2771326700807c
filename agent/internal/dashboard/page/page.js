'use strict';
// The page of piswarm. The node sends the whole shelf once and then what changes of it; each part of the page is
// found by its key and touched only when its own part of the shelf has changed. All text goes in as text: names and
// output of containers are never markup.

const TOKEN = 'piswarm-token';
const find = (id) => document.getElementById(id);
const may = { look: false, write: false, signed: false };
const shelf = { head: {}, nodes: new Map(), services: new Map(), tasks: new Map(), vitals: new Map() };
const cards = new Map(); // of nodes, by ID; '' is the one of tasks that have no place
const rows = new Map(); // of services, by name
const chips = new Map(); // of tasks, by ID
const inOrder = new Intl.Collator('en', { numeric: true }).compare;

// make returns a new element.
function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children);
  return e;
}

// write sets what has changed, and nothing else: what is set makes the browser work.
function write(e, text) { if (e.textContent !== text) e.textContent = text; }
function mark(e, name, value) { if (e.dataset[name] !== value) e.dataset[name] = value; }
function show(e, visible) { if (e.hidden === visible) e.hidden = !visible; }

// ——— talking to the node ———

function token() { try { return localStorage.getItem(TOKEN) || ''; } catch { return ''; } }
function keep(text) { try { text ? localStorage.setItem(TOKEN, text) : localStorage.removeItem(TOKEN); } catch { /* private window */ } }

async function call(method, path, body) {
  const headers = {};
  if (token()) headers['X-Piswarm-Token'] = token();
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(180000) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error || `the node answered ${answer.status}`);
  return said;
}

let forgetProblem;
function problem(text) {
  write(find('problem'), text);
  clearTimeout(forgetProblem);
  if (text) forgetProblem = setTimeout(() => problem(''), 12000);
}

// act does something that the user asked for; its button waits meanwhile.
async function act(button, method, path, body) {
  button.disabled = true;
  try {
    const said = await call(method, path, body);
    problem(said.warning || '');
  } catch (e) {
    problem(e.message);
  } finally {
    button.disabled = false;
  }
}

let stream = null; // ends the running one
let failures = 0;
let asleep = false; // nobody sees the page: the node needs not work for it

async function follow() {
  for (;;) {
    while (asleep) await new Promise((wake) => document.addEventListener('visibilitychange', wake, { once: true }));
    try {
      Object.assign(may, await call('GET', 'api/hello'));
      adapt();
      if (!may.look) { connection('not signed in', true); return; }
      await read();
    } catch { /* said below */ }
    if (asleep) continue;
    failures++;
    connection('no answer from this node, trying again …', true);
    await new Promise((done) => setTimeout(done, Math.min(250 * 2 ** failures, 5000)));
  }
}

// read reads one stream to its end. A node that falls silent is as good as gone.
async function read() {
  const abort = stream = new AbortController();
  let silence;
  const heard = () => { clearTimeout(silence); silence = setTimeout(() => abort.abort(), 40000); };
  heard();
  try {
    const answer = await fetch('api/stream', { headers: token() ? { 'X-Piswarm-Token': token() } : {}, signal: abort.signal });
    if (!answer.ok) throw new Error();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '', first = true;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      rest += value;
      for (let end; (end = rest.indexOf('\n\n')) >= 0; rest = rest.slice(end + 2)) {
        const kind = rest.match(/^event: (\w+)\ndata: /);
        if (!kind) continue; // a sign of life
        take(kind[1], JSON.parse(rest.slice(kind[0].length, end)), first);
        first = false;
        failures = 0;
      }
    }
  } finally {
    clearTimeout(silence);
    abort.abort();
  }
}

function take(kind, data, first) {
  if (kind === 'scene') {
    apply(data);
    connection('live', false);
  } else if (kind === 'lines') {
    tell(data, first);
  } else if (kind === 'trouble' && data.error) {
    connection(data.error, true);
  }
}

function connection(text, bad) {
  write(find('state'), text);
  find('state').classList.toggle('bad', bad);
}

let falling;
document.addEventListener('visibilitychange', () => {
  clearTimeout(falling);
  asleep = false;
  if (document.hidden) falling = setTimeout(() => { asleep = true; if (stream) stream.abort(); }, 30000);
});

// ——— signing in ———

function adapt() {
  show(find('sign-in'), !may.signed && !may.look);
  show(find('sign-out'), may.signed);
  document.body.classList.toggle('writer', may.write);
  for (const name of shelf.services.keys()) drawService(name);
}

async function signIn(text) {
  const code = text.trim().replace(/^.*#sign-in=/, '');
  try {
    keep((await call('POST', 'sign-in', { code })).token);
    problem('');
    return true;
  } catch (e) {
    problem(e.message);
    return false;
  }
}

find('sign-in-form').addEventListener('submit', async (e) => {
  e.preventDefault();
  if (await signIn(find('code').value)) {
    find('code').value = '';
    find('nodes-title').focus();
    follow();
  }
});
find('sign-out').addEventListener('click', async () => {
  await call('POST', 'sign-out', {}).catch(() => {});
  keep('');
  location.reload();
});

// ——— what the node says becomes what is shown ———

function merge(into, changes, full, touched) {
  if (full) for (const key of into.keys()) if (!changes || !(key in changes)) { into.delete(key); touched.add(key); }
  for (const [key, value] of Object.entries(changes || {})) {
    if (value === null) into.delete(key); else into.set(key, value);
    touched.add(key);
  }
}

const onNode = new Map(); // IDs of a node's tasks
const placed = new Map(); // where a task was put

// apply takes in a difference.
function apply(d) {
  const nodes = new Set(), services = new Set(), tasks = new Set(), filled = new Set();
  if (d.head) shelf.head = d.head;
  merge(shelf.nodes, d.nodes, d.full, nodes);
  merge(shelf.services, d.services, d.full, services);
  merge(shelf.tasks, d.tasks, d.full, tasks);
  merge(shelf.vitals, d.vitals, d.full, nodes);
  for (const id of tasks) {
    const t = shelf.tasks.get(id), was = placed.get(id), is = t && (shelf.nodes.has(t.node) ? t.node : '');
    if (was !== undefined && was !== is) { onNode.get(was).delete(id); filled.add(was); }
    if (!t) {
      placed.delete(id);
      dropChip(id, was);
      continue;
    }
    if (!onNode.has(is)) onNode.set(is, new Set());
    onNode.get(is).add(id);
    placed.set(id, is);
    filled.add(is);
    drawChip(id, t, d.full);
  }
  for (const id of nodes) drawNode(id);
  for (const id of filled) fill(id);
  for (const name of services) drawService(name);
  if (nodes.size) sort(find('shelf'), cards, (id) => shelf.nodes.get(id)?.name ?? '\uffff');
  if (services.size) sort(find('services'), rows, (name) => name);
  summarise();
}

// sort puts what is new into its place, and leaves the others where they are.
function sort(list, items, name) {
  let at = list.firstElementChild;
  for (const [, e] of [...items].sort(([a], [b]) => inOrder(name(a), name(b)) || inOrder(a, b))) {
    const root = e.root;
    if (root === at) at = at.nextElementSibling; else list.insertBefore(root, at);
  }
}

function summarise() {
  const all = [...shelf.nodes.values()].filter((n) => n.state !== 'waiting');
  const up = all.filter((n) => n.state === 'ready').length;
  write(find('cluster'), shelf.head.cluster || 'piswarm');
  write(find('summary'), `${up} of ${all.length} nodes ready, ${shelf.services.size} services, ${shelf.tasks.size} tasks`);
  show(find('no-services'), shelf.services.size === 0);
  const title = (up < all.length ? '⚠ ' : '') + (shelf.head.cluster || 'piswarm');
  if (document.title !== title) document.title = title;
}

// ——— nodes ———

function card(id) {
  let c = cards.get(id);
  if (c) return c;
  c = {
    name: make('button', { class: 'name', type: 'button', onclick: () => details('node', id) }),
    state: make('span', { class: 'badge' }), lead: make('span', { class: 'badge', hidden: true }, '★ leader'),
    vitals: make('p', { class: 'small' }), warn: make('p', { class: 'warn' }), chips: make('ul', { class: 'chips' }),
  };
  c.root = make('li', { class: 'node' }, make('div', { class: 'top' }, make('h3', {}, c.name), c.state, c.lead), c.vitals, c.warn, c.chips);
  c.root.dataset.node = id;
  cards.set(id, c);
  return c;
}

function drawNode(id) {
  const n = shelf.nodes.get(id);
  if (!n) {
    const c = cards.get(id);
    if (!c || id === '') return;
    moveFocus(c.root, find('nodes-title'));
    c.root.remove();
    cards.delete(id);
    // Tasks that it had are shown without a place until the node says where they are.
    for (const task of onNode.get(id) || []) placeless(task);
    onNode.delete(id);
    return;
  }
  const c = card(id);
  write(c.name, n.name);
  mark(c.root, 'state', n.state);
  write(c.state, n.state + (n.availability && n.availability !== 'active' ? `, ${n.availability}` : ''));
  c.state.className = 'badge ' + (n.state === 'ready' ? 'good' : n.state === 'down' ? 'bad' : '');
  show(c.lead, !!n.leader);
  const v = n.state === 'ready' && shelf.vitals.get(id);
  write(c.vitals, [n.address, v && v.degrees && `${v.degrees} °C`, v && `${v.memory} % memory`, v && `load ${v.load.toFixed(1)}`].filter(Boolean).join(' · '));
  const warnings = n.warnings ? n.warnings.split('\n') : [];
  write(c.warn, warnings.length === 0 ? '' : '⚠ ' + warnings[0] + (warnings.length > 1 ? ` (and ${warnings.length - 1} more)` : ''));
  for (const task of [...(onNode.get('') || [])]) if (shelf.tasks.get(task).node === id) rehome(task, id);
}

// rehome puts a task onto a node that was told of after it.
function rehome(task, id) {
  onNode.get('').delete(task);
  if (!onNode.has(id)) onNode.set(id, new Set());
  onNode.get(id).add(task);
  placed.set(task, id);
  fill('');
  fill(id);
}

function placeless(task) {
  if (!onNode.has('')) onNode.set('', new Set());
  onNode.get('').add(task);
  placed.set(task, '');
  fill('');
}

// fill puts a node's chips in order: by service, then slot.
function fill(id) {
  if (id !== '' && !shelf.nodes.has(id)) return;
  const c = card(id), ids = [...(onNode.get(id) || [])];
  if (id === '') {
    write(c.name, 'no place yet');
    c.name.disabled = true;
    mark(c.root, 'state', 'none');
    show(c.root, ids.length > 0);
    if (!c.root.isConnected) find('shelf').append(c.root);
  }
  const key = (i) => { const t = shelf.tasks.get(i); return [t.service, t.slot || 0, i]; };
  const sorted = ids.map(key).sort((a, b) => inOrder(a[0], b[0]) || a[1] - b[1] || (a[2] < b[2] ? -1 : 1));
  let at = c.chips.firstElementChild;
  for (const [, , i] of sorted) {
    const e = chips.get(i).root;
    if (e === at) at = at.nextElementSibling; else c.chips.insertBefore(e, at);
  }
}

// ——— tasks ———

// hue gives each service a colour: the same for everyone who looks, and chips say their service in words as well.
const hues = new Map();
function hue(service) {
  if (!hues.has(service)) {
    let h = 2166136261;
    for (const c of service) h = Math.imul(h ^ c.codePointAt(0), 16777619);
    hues.set(service, Math.floor(((h >>> 0) * 137.508) % 360));
  }
  return hues.get(service);
}

const bad = new Set(['failed', 'rejected', 'orphaned', 'unhealthy', 'down']);
function taskName(t) { return t.slot ? `${t.service}.${t.slot}` : t.service; }

function drawChip(id, t, quiet) {
  let c = chips.get(id);
  if (!c) {
    c = { button: make('button', { class: quiet ? 'chip' : 'chip new', type: 'button', onclick: () => details('task', id) }) };
    c.button.style.setProperty('--hue', hue(t.service));
    c.root = make('li', {}, c.button);
    c.button.dataset.task = id;
    chips.set(id, c);
  }
  const state = t.desired !== 'running' && t.state === 'running' ? 'stopping' : t.state;
  write(c.button, state === 'running' ? taskName(t) : `${taskName(t)} ${state}`);
  mark(c.button, 'mood', bad.has(state) ? 'bad' : state === 'running' || state === 'complete' ? 'good' : 'wait');
  mark(c.button, 'state', state);
  if (c.button.title !== (t.error || '')) c.button.title = t.error || '';
}

function dropChip(id, node) {
  const c = chips.get(id);
  if (!c) return;
  moveFocus(c.root, cards.get(node)?.name);
  c.root.remove();
  chips.delete(id);
}

// moveFocus keeps a keyboard's place when what had the focus goes.
function moveFocus(from, to) { if (to && from.contains(document.activeElement)) to.focus(); }

// ——— services ———

function row(name) {
  let r = rows.get(name);
  if (r) return r;
  const path = `api/services/${encodeURIComponent(name)}`;
  r = {
    count: make('span', { class: 'badge' }), bar: make('div'), image: make('p', { class: 'small' }), ports: make('p', { class: 'ports' }), update: make('p', { class: 'small' }),
    replicas: make('input', { type: 'number', min: 0, max: 10000, 'aria-label': `replicas of ${name}` }),
    actions: make('form', { class: 'actions', hidden: true, onsubmit: (e) => { e.preventDefault(); act(e.submitter || r.scale, 'POST', path + '/scale', { replicas: r.replicas.valueAsNumber || 0 }); } }),
  };
  r.scale = make('button', { 'aria-label': `Scale ${name}` }, 'Scale');
  r.actions.append(r.replicas, r.scale,
    make('button', { type: 'button', 'aria-label': `Restart ${name}`, onclick: (e) => act(e.currentTarget, 'POST', path + '/restart', {}) }, 'Restart'),
    make('button', { type: 'button', class: 'danger', 'aria-label': `Remove ${name}`, onclick: (e) => { if (confirm(`Remove service ${name} and all its tasks?`)) act(e.currentTarget, 'DELETE', path); } }, 'Remove'));
  const bar = make('div', { class: 'bar', 'aria-hidden': 'true' }, r.bar);
  r.root = make('li', { class: 'service' }, make('div', { class: 'top' }, make('h3', {}, name), r.count), bar, r.image, r.ports, r.update, r.actions);
  r.root.style.setProperty('--hue', hue(name));
  r.root.dataset.service = name;
  rows.set(name, r);
  return r;
}

const perNode = (s) => s.mode === 'global' || s.mode === 'global-job';

function drawService(name) {
  const s = shelf.services.get(name);
  if (!s) {
    const r = rows.get(name);
    if (!r) return;
    moveFocus(r.root, find('nodes-title'));
    r.root.remove();
    rows.delete(name);
    return;
  }
  const r = row(name), job = s.total > 0, [done, all] = job ? [s.completed || 0, s.total] : [s.running, s.desired];
  write(r.count, job ? `${done} of ${all} complete, ${s.running} running` : `${done} of ${all} running`);
  r.count.className = 'badge ' + (done >= all ? 'good' : 'bad');
  r.bar.style.transform = `scaleX(${all > 0 ? Math.min(done / all, 1) : 1})`;
  write(r.image, s.image + (s.mode === 'replicated' ? '' : ` · ${s.mode}`));
  if (r.ports.dataset.ports !== (s.ports || '')) {
    r.ports.dataset.ports = s.ports || '';
    r.ports.replaceChildren(...(s.ports || '').split(' ').filter(Boolean).map(port));
  }
  const progress = s.update === 'updating' || s.update === 'rollback_started' ? `, ${s.updated || 0} of ${s.desired} done` : '';
  write(r.update, s.update ? `${s.update.replace('_', ' ')}${progress}${s.message ? ': ' + s.message : ''}` : '');
  r.update.classList.toggle('bad', /paused|rollback/.test(s.update || ''));
  show(r.actions, may.write);
  const scalable = !perNode(s);
  show(r.replicas, scalable);
  show(r.scale, scalable);
  if (document.activeElement !== r.replicas) r.replicas.value = job ? s.total : s.desired;
}

// port makes a link of a published port, at the name that the browser knows this node by.
function port(text) {
  const [published, rest] = text.split(':'), [, protocol, host] = rest.split('/');
  const label = published + (protocol === 'tcp' ? '' : `/${protocol}`) + (host ? ' (only where it runs)' : '');
  if (protocol !== 'tcp') return make('span', {}, `port ${label}`);
  return make('a', { href: `http://${location.hostname}:${published}/`, rel: 'noreferrer', target: '_blank' }, `port ${label}`);
}

// ——— events ———

const MOST = 200;
let unheard = [], speaking;

function tell(lines, first) {
  const list = find('events');
  for (const l of lines) {
    const at = new Date(Date.now() - l.ago);
    list.prepend(make('li', { class: l.mood }, make('time', { datetime: at.toISOString() }, at.toLocaleTimeString()), make('span', {}, l.text)));
  }
  while (list.childElementCount > MOST) list.lastElementChild.remove();
  show(find('no-events'), list.childElementCount === 0);
  // Who listens hears what matters, and not faster than it can be read out.
  if (!first) unheard.push(...lines.filter((l) => l.mood === 'bad' || /^(node|service) /.test(l.text)).map((l) => l.text));
  unheard = unheard.slice(-5);
  if (!speaking && unheard.length) {
    write(find('news'), unheard.join('. '));
    unheard = [];
    speaking = setTimeout(() => { speaking = undefined; tell([], false); }, 3000);
  }
}

// ——— details ———

const dialog = find('details');
let opener, again;

async function details(kind, id) {
  opener = document.activeElement;
  find('details-body').replaceChildren('…');
  write(find('details-title'), kind === 'node' ? shelf.nodes.get(id)?.name ?? id : taskName(shelf.tasks.get(id) ?? { service: id }));
  dialog.showModal();
  find('details-title').focus();
  const refresh = async () => {
    clearTimeout(again);
    const body = kind === 'node' ? await nodeDetails(id) : await taskDetails(id);
    if (!dialog.open) return;
    // Whoever reads or types in it is not disturbed.
    if (!find('details-body').contains(document.activeElement)) find('details-body').replaceChildren(...body);
    for (const output of find('details-body').querySelectorAll('pre')) output.scrollTop = output.scrollHeight;
    if (!document.hidden) again = setTimeout(refresh, 3000);
  };
  await refresh();
}
find('details-close').addEventListener('click', () => dialog.close());
dialog.addEventListener('click', (e) => { if (e.target === dialog) dialog.close(); });
dialog.addEventListener('close', () => {
  clearTimeout(again);
  (opener && opener.isConnected ? opener : find('nodes-title')).focus();
});

function facts(list) {
  return make('dl', {}, ...list.filter(([, v]) => v !== undefined && v !== '').flatMap(([k, v]) => [make('dt', {}, k), make('dd', {}, v)]));
}

function since(seconds) {
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'min']]) if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${seconds} s`;
}

async function nodeDetails(id) {
  let d;
  try { d = await call('GET', `api/nodes/${encodeURIComponent(id)}`); } catch (e) { return [e.message]; }
  const n = shelf.nodes.get(id) || {}, v = shelf.vitals.get(id);
  const out = [facts([
    ['State', n.state], ['Availability', n.availability], ['Address', n.address], ['Role', d.role], ['Model', d.model], ['Platform', n.platform],
    ['Kernel', d.kernel], ['Temperature', v && v.degrees ? `${v.degrees} °C` : ''], ['Memory', d.memory ? `${(d.memory / 2 ** 20).toFixed(0)} MB` + (v ? `, ${v.memory} % in use` : '') : ''],
    ['Load', v ? `${v.load.toFixed(1)} for each of ${d.cpus || 1} processors` : ''], ['Containers', d.subnet], ['Images', String(d.images)],
    ['Labels', Object.entries(d.labels || {}).map((l) => l.join('=')).join(', ')], ['piswarm', d.version], ['containerd', d.runtime], ['ID', id],
  ])];
  if (d.warnings && d.warnings.length) out.push(make('h3', {}, 'Warnings'), make('ul', {}, ...d.warnings.map((w) => make('li', { class: 'warn' }, w))));
  if (may.write && n.availability) {
    out.push(make('div', { class: 'actions' }, ...['active', 'pause', 'drain'].filter((a) => a !== n.availability).map((a) => make('button', {
      type: 'button', onclick: async (e) => { await act(e.currentTarget, 'POST', `api/nodes/${encodeURIComponent(id)}/availability`, { availability: a }); dialog.close(); },
    }, { active: 'Make active', pause: 'Pause', drain: 'Drain' }[a]))));
  }
  return out;
}

async function taskDetails(id) {
  let d;
  try { d = await call('GET', `api/tasks/${encodeURIComponent(id)}`); } catch (e) { return [e.message]; }
  const out = [facts([['State', `${d.state}, for ${since(d.ago)}`], ['Node', d.node], ['Address', d.address], ['Image', d.image], ['ID', id]])];
  if (d.error) out.push(make('p', { class: 'bad' }, d.error));
  out.push(make('h3', {}, 'Last output'));
  if (d.log.length) out.push(make('pre', { tabindex: 0, 'aria-label': 'Last output' }, d.log.map((l) => l.text).join('\n')));
  if (d.noLog) out.push(make('p', { class: 'small' }, d.noLog));
  if (d.past.length) {
    out.push(make('h3', {}, 'Before'), make('ul', {}, ...d.past.map((p) => make('li', {}, `${p.state} on ${p.node}, ${since(p.ago)} ago${p.error ? ': ' + p.error : ''}`))));
  }
  return out;
}

// enter signs in with the code of the link that the page was opened by, which then is in no history.
async function enter() {
  if (!location.hash.startsWith('#sign-in=')) return false;
  const code = location.hash;
  history.replaceState(null, '', location.pathname);
  return signIn(code);
}
window.addEventListener('hashchange', async () => { if (await enter()) location.reload(); });
enter().then(follow);
