/** The node went away under whoever was about to do something on it. */
export class NodeGone extends Error {
  override readonly name = 'NodeGone';
}
