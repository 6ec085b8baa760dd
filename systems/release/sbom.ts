import { Enums, Models, Serialize, Spec } from '@cyclonedx/cyclonedx-library';
import type { ReleaseSource } from '#domain/fleet.js';

/**
 * The parts list of a release: CycloneDX 1.6, pinned packages and images by package URL. It has neither a time nor a
 * serial number, so the same parts are the same bytes, and its digest says whether a scan was of these parts.
 */
export function renderSbom(fleet: string, release: ReleaseSource): Buffer {
  const root = new Models.Component(Enums.ComponentType.Platform, fleet, {
    version: release.version,
    // Without a name of its own the library draws a random one.
    bomRef: `release:${fleet}`,
  });
  const bom = new Models.Bom({ metadata: new Models.Metadata({ component: root }) });
  for (const { name, version } of release.packages) {
    const purl = debPurl(name, version);
    bom.components.add(new Models.Component(Enums.ComponentType.Library, name, { version, purl, bomRef: purl }));
  }
  for (const { name, digest } of release.images) {
    const purl = imagePurl(name, digest);
    const hashes = new Models.HashDictionary([[Enums.HashAlgorithm['SHA-256'], digest.slice('sha256:'.length)]]);
    bom.components.add(
      new Models.Component(Enums.ComponentType.Container, name, { version: digest, purl, bomRef: purl, hashes }),
    );
  }
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  return Buffer.from(serializer.serialize(bom, { sortLists: true, space: 1 }));
}

const debPurl = (name: string, version: string): string =>
  `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}`;

function imagePurl(name: string, digest: string): string {
  const last = name.split('/').at(-1) ?? name;
  return `pkg:oci/${encodeURIComponent(last)}@${encodeURIComponent(digest)}?repository_url=${encodeURIComponent(name)}`;
}
