/** How a call finds its handler, the same for both products: by its method and the pieces of its path. */
export interface Path {
  method: string;
  /** With `{name}` for the variable pieces. */
  path: string;
}

export interface Found<R> {
  route: R;
  fromUri: Record<string, string>;
}

export interface Paths<R> {
  /** The first that fits, in the order in which they are declared. */
  find(method: string, segments: readonly string[]): Found<R> | undefined;
  /** The next pieces of all longer paths, variables apart, and the path as declared; undefined when nothing is below. */
  below(segments: readonly string[]): { path: string; names: string[] } | undefined;
}

export function compilePaths<R extends Path>(routes: readonly R[]): Paths<R> {
  const compiled = routes.map((route) => ({ route, pieces: piecesOf(route.path) }));
  return {
    find(method, segments) {
      for (const { route, pieces } of compiled) {
        if (route.method !== method || pieces.length !== segments.length) continue;
        const fromUri = match(pieces, segments);
        if (fromUri) return { route, fromUri };
      }
      return undefined;
    },
    below(segments) {
      const longer = compiled.filter(
        ({ pieces }) => pieces.length > segments.length && match(pieces.slice(0, segments.length), segments),
      );
      const [first] = longer;
      if (!first) return undefined;
      const next = longer.map(({ pieces }) => pieces[segments.length] ?? '').filter((piece) => !piece.startsWith('{'));
      return { path: `/${first.pieces.slice(0, segments.length).join('/')}`, names: [...new Set(next)] };
    },
  };
}

const piecesOf = (path: string): string[] => path.split('/').filter((piece) => piece !== '');

function match(pieces: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  const values: Record<string, string> = {};
  for (const [index, piece] of pieces.entries()) {
    const segment = segments[index] ?? '';
    if (piece.startsWith('{')) values[piece.slice(1, -1)] = segment;
    else if (piece !== segment) return undefined;
  }
  return values;
}
