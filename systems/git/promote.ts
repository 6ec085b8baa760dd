import { checkedPath } from './names.js';
import type { Git } from './program.js';
import { AUTHOR, line, recordOnce } from './record.js';
import { withScratchIndex } from './scratch-index.js';
import type { GitRepo } from './types.js';

type Promotion = Parameters<GitRepo['promote']>[0];

export const PROMOTION_TRAILER = 'Edge-Promotion';

export function promote(git: Git, dir: string, promotion: Promotion): Promise<string> {
  checkedPath(promotion.file);
  return recordOnce(git, dir, {
    ...promotion,
    trailer: PROMOTION_TRAILER,
    write: (tip) => writeCommit(git, tip, promotion),
  });
}

const writeCommit = (git: Git, tip: string, promotion: Promotion): Promise<string> =>
  withScratchIndex(async (env) => {
    const blob = await line(git(['hash-object', '-w', '--no-filters', '--stdin'], { input: promotion.content }));
    await git(['read-tree', tip], { env });
    await git(['update-index', '--add', '--cacheinfo', `100644,${blob},${promotion.file}`], { env });
    const tree = await line(git(['write-tree'], { env }));
    const message = `${promotion.message.trim()}\n\n${PROMOTION_TRAILER}: ${promotion.tag}\n`;
    return line(git(['commit-tree', tree, '-p', tip, '-F', '-'], { env: AUTHOR, input: message }));
  });
