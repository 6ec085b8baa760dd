import { fileURLToPath } from 'node:url';
import { ObjectsError } from './errors.js';
import { openFileObjects } from './file.js';
import { openHttpObjects, type HttpOptions } from './http.js';
import { openS3Objects, type S3Options } from './s3.js';
import type { Objects } from './types.js';

interface OpenObjectsOptions {
  http?: HttpOptions;
  s3?: S3Options;
}

/**
 * Opens the store that the address names: `file:///dir` (read and write), `http(s)://host` (read), `s3://bucket/prefix`
 * (read and write). Nothing is contacted yet. Throws `BadName` for any other address.
 */
export function openObjects(address: string, options: OpenObjectsOptions = {}): Objects {
  if (!URL.canParse(address)) throw badAddress();
  const url = new URL(address);
  if (url.username || url.password || url.search || url.hash) {
    throw new ObjectsError('BadName', 'An object store address carries no credentials, query or fragment.');
  }
  switch (url.protocol) {
    case 'file:':
      return openFileObjects(fileURLToPath(url));
    case 'http:':
    case 'https:':
      return openHttpObjects(url.href, options.http);
    case 's3:':
      return openS3Objects(url.hostname, url.pathname.replace(/^\/+|\/+$/g, ''), options.s3);
    default:
      throw badAddress();
  }
}

const badAddress = (): ObjectsError =>
  new ObjectsError('BadName', 'An object store address starts with file:///, http://, https:// or s3://.');
