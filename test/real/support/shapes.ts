import { z } from 'zod';

/**
 * What a schema reads of an answer, as `path: type`, so that two programs can be compared without their values. A key
 * that the schema knows and the answer leaves out is `absent`.
 */
export function shapeRead(schema: z.core.$ZodType, value: unknown): string[] {
  const seen = new Set<string>();
  const look = (part: z.core.$ZodType, at: unknown, path: string): void => {
    if (part instanceof z.ZodDefault) return look(part.unwrap(), at, path);
    if (at === undefined) seen.add(`${path}: absent`);
    else if (part instanceof z.ZodArray) for (const each of at as unknown[]) look(part.element, each, `${path}[]`);
    else if (part instanceof z.ZodRecord)
      for (const each of Object.values(at as object)) look(part.valueType, each, `${path}{}`);
    else if (part instanceof z.ZodObject)
      for (const [key, inner] of Object.entries(part.shape as Record<string, z.core.$ZodType>))
        look(inner, (at as Record<string, unknown>)[key], path ? `${path}.${key}` : key);
    else seen.add(`${path}: ${at === null ? 'null' : typeof at}`);
  };
  look(schema, value, '');
  return [...seen].sort();
}
