/**
 * Imports go one way. `only(from, allowed)` forbids every import from `from` that is not in `allowed`.
 * Type-only imports are marked by `tsPreCompilationDeps`, so "types of" edges are stated apart from values.
 */
const rooms = ['domain', 'workflows', 'activities', 'systems', 'workers', 'client', 'lab', 'test'];
const others = (...allowed) => `^(${rooms.filter((room) => !allowed.includes(room)).join('|')})/`;

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'domain-is-pure', severity: 'error', from: { path: '^domain/' }, to: { path: others('domain') } },
    {
      name: 'domain-has-no-io',
      severity: 'error',
      from: { path: '^domain/' },
      to: { dependencyTypes: ['core'], path: '.' },
    },
    { name: 'domain-knows-no-temporal', severity: 'error', from: { path: '^domain/' }, to: { path: '@temporalio' } },
    {
      name: 'workflows-use-domain-only',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { path: others('workflows', 'domain'), dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'workflows-know-activities-by-type',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { path: '^(systems|workers|client|lab|test)/' },
    },
    {
      name: 'workflows-have-no-io',
      severity: 'error',
      from: { path: '^workflows/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'systems-know-domain-and-themselves',
      severity: 'error',
      from: { path: '^systems/([^/]+)/' },
      to: { path: others('domain', 'systems') },
    },
    {
      name: 'systems-do-not-know-siblings',
      severity: 'error',
      from: { path: '^systems/([^/]+)/' },
      // What the clients of two products share of HTTPS belongs to neither, nor what two memories share of the
      // disk, nor how programs of this machine are run.
      to: { path: '^systems/', pathNot: '^systems/($1|http|files|programs)/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'activities-get-systems-injected',
      severity: 'error',
      from: { path: '^activities/' },
      to: { path: '^systems/', pathNot: '/errors\\.ts$', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'activities-know-contracts',
      severity: 'error',
      from: { path: '^activities/' },
      to: { path: '^(workflows|workers|client|lab|test)/' },
    },
    {
      name: 'workers-take-workflows-by-path',
      severity: 'error',
      from: { path: '^workers/' },
      to: { path: '^(workflows|client|lab|test)/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'client-knows-messages',
      severity: 'error',
      from: { path: '^client/' },
      to: { path: '^(activities|lab|test)/' },
    },
    {
      name: 'client-takes-only-messages-from-workflows',
      severity: 'error',
      from: { path: '^client/' },
      to: { path: '^workflows/', pathNot: '^workflows/messages\\.ts$', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'lab-shares-nothing',
      severity: 'error',
      from: { path: '^lab/' },
      to: { path: others('lab'), dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'nothing-imports-lab-or-test',
      severity: 'error',
      from: { pathNot: '^(lab|test)/' },
      to: { path: '^(lab|test)/' },
    },
    { name: 'nothing-imports-test', severity: 'error', from: { pathNot: '^test/' }, to: { path: '^test/' } },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^dist/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['source', 'import', 'require', 'node', 'default'],
    },
  },
};
