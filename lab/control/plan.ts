import { readFileSync } from 'node:fs';
import { isNode, LineCounter, parseDocument } from 'yaml';
import type { FaultSpec } from '../world/faults.js';
import { BadInput, parseFaults } from './schemas.js';

/** A plan of faults: a YAML or JSON list. Throws with every problem, each with its line in the file. */
export function readFaultPlan(file: string): FaultSpec[] {
  const lines = new LineCounter();
  const document = parseDocument(readFileSync(file, 'utf8'), { lineCounter: lines });
  const [broken] = document.errors;
  if (broken) throw new Error(`${file}:${broken.linePos?.[0].line ?? 1}  ${broken.message.split('\n')[0]}`);
  try {
    return parseFaults(document.toJS());
  } catch (error) {
    if (!(error instanceof BadInput)) throw error;
    const placed = error.problems.map((problem) => {
      const [, index, field] = /^\[(\d+)\](?:\.([\w-]+))?/.exec(problem) ?? [];
      const at = index === undefined ? undefined : (nodeAt(Number(index), field) ?? nodeAt(Number(index)));
      return `${file}:${at === undefined ? 1 : lines.linePos(at).line}  ${problem}`;
    });
    throw new Error(placed.join('\n'), { cause: error });
  }

  function nodeAt(index: number, field?: string): number | undefined {
    const node: unknown = document.getIn(field === undefined ? [index] : [index, field], true);
    return isNode(node) ? node.range?.[0] : undefined;
  }
}
