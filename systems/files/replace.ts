import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';

/** The file is on disk, whole and under its name, or as it was before; a crash leaves one of the two. */
export async function replaceFile(dir: string, name: string, content: string): Promise<void> {
  const temporary = join(dir, `.${name}.new`);
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(dir, name));
  // The new name is in the folder, and the folder has to reach the disk too.
  const folder = await open(dir, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
