import type { FullRepoOptions } from './template.js';

/** The files of store number `number` (from 1): path → content. */
export function renderStore(number: number, options: FullRepoOptions): Map<string, string> {
  const id = storeName(number);
  const folder = `clusters/${id}`;
  return new Map([
    [`${folder}/store.yaml`, storeYaml(id, number, options)],
    [`${folder}/inventory-api.yaml`, inventoryYaml(id)],
    [`${folder}/varnish-vcl.vcl`, varnishVcl(id)],
  ]);
}

const storeName = (number: number): string => `store-${String(number).padStart(3, '0')}`;

/** Pilots stand evenly over the fleet, so that the canary is not the first few stores that were ever built. */
function isPilot(number: number, { stores, pilots }: FullRepoOptions): boolean {
  return Array.from({ length: pilots }, (_, k) => Math.floor(((k + 0.5) * stores) / pilots) + 1).includes(number);
}

/** The practice fleet has one /24 of loopback per store; real stores get a placeholder /24 of 10.0.0.0/8. */
function subnetOf(number: number, { lab, labNetwork }: FullRepoOptions): string {
  const index = number - 1;
  if (lab) return `127.${labNetwork + Math.floor(index / 200)}.${index % 200}`;
  return `10.${20 + Math.floor(index / 250)}.${index % 250}`;
}

function storeYaml(id: string, number: number, options: FullRepoOptions): string {
  const { lab, compressed } = options;
  const within = compressed ? ', within: 5s' : '';
  const subnet = subnetOf(number, options);
  const ports = lab ? ', apiPort: 8006, sshPort: 2222' : '';
  const host = (node: number): number => (lab ? node : 10 + node);
  const nodes = [1, 2, 3].map((node) => `  - { name: n${node}, address: ${subnet}.${host(node)}${ports} }`).join('\n');
  const tags = isPilot(number, options) ? 'tags: [pilot]\n' : '';
  return `id: ${id}
${tags}nodes:
${nodes}
# Backed up every night, as fleet.yaml says.
backup: {}
guests:
  - vmid: 101
    name: pos
    kind: qemu
    role: pos
    tier: till
    probes:
      - { name: selftest, command: [/usr/local/bin/pos-selftest]${within} }
    health: http://${subnet}.101:8080/health
    metrics: http://${subnet}.101:8080/metrics
  - vmid: 102
    name: inventory
    kind: qemu
    role: inventory
    probes:
      - { name: selftest, command: [/usr/local/bin/inventory-selftest]${within} }
    health: http://${subnet}.102:8080/health
    metrics: http://${subnet}.102:8080/metrics
    config:
      - file: inventory-api.yaml
        target: /etc/inventory/api.yaml
        check: [edge-inventory, --check, '{file}']
        reload: [systemctl, reload, inventory]
  - vmid: 103
    name: cache
    kind: lxc
    role: cache
    probes:
      - { name: selftest, command: [/usr/local/bin/cache-selftest]${within} }
    health: http://${subnet}.103:8080/health
    metrics: http://${subnet}.103:8080/metrics
    config:
      - file: varnish-vcl.vcl
        target: /etc/varnish/default.vcl
        check: [varnishd, -C, -f, '{file}']
        reload: [systemctl, reload, varnish]
${plainGuests(options.guests - NAMED_GUESTS)}`;
}

/** How many the template names itself: a till, an inventory, a cache. */
export const NAMED_GUESTS = 3;

/** Guests of which nothing is asked but that they are there, and backed up. */
function plainGuests(count: number): string {
  const numbers = Array.from({ length: Math.max(0, count) }, (_, index) => index + 1);
  return numbers
    .map((number) => `  - { vmid: ${100 + NAMED_GUESTS + number}, name: extra-${number}, kind: lxc, role: other }\n`)
    .join('');
}

function inventoryYaml(id: string): string {
  return `# The inventory service of ${id}. Card data never passes through it.
site: ${id}
listen: 0.0.0.0:8080
database: local
sync:
  upstream: https://inventory.example.net
  everySeconds: 60
  queueWhileOffline: true
`;
}

function varnishVcl(id: string): string {
  return `vcl 4.1;

# The cache of ${id}: static content for tills and screens, served while the WAN is down.
backend default {
  .host = "127.0.0.1";
  .port = "8081";
}

sub vcl_backend_response {
  set beresp.ttl = 10m;
  set beresp.grace = 24h;
}
`;
}
