export { janitor } from './janitor.js';
export { launchTrain } from './launch-train.js';
export { patchStore } from './patch-store.js';
export { patchTrain } from './patch-train.js';
export { rollbackTrain } from './rollback-train.js';
export { survey } from './survey.js';
export { wave } from './wave.js';
