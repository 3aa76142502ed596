import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dockerBuild, hasImage } from '../../images/docker.ts';
import { type ToolName, tool } from './tools.ts';

/**
 * Images of these names are looked for nowhere but on the node: Knative asks a registry for the digest of any
 * other name.
 */
const REPOSITORY = 'dev.local/pilotlight-e2e';
/** The user of distroless images; pods may demand one that is not root. */
const USER = 65_532;

/**
 * An image of static programs that are built with Go, and of nothing else.
 *
 * @param programs lie at `/<name>`; the first one is what the image runs
 * @returns its name, which changes with the programs
 */
export async function programImage(...programs: [ToolName, ...ToolName[]]): Promise<string> {
  const [first] = programs;
  const dockerfile = `FROM scratch
COPY ${programs.join(' ')} /
USER ${USER}:${USER}
ENTRYPOINT ["/${first}"]
`;
  const hash = createHash('sha256').update(dockerfile);
  const binaries = new Map<ToolName, string>();
  for (const program of programs) binaries.set(program, await tool(program));
  for (const binary of binaries.values()) hash.update(readFileSync(binary));
  const name = `${REPOSITORY}/${first}:${hash.digest('hex').slice(0, 12)}`;
  if (await hasImage(name)) return name;
  const context = mkdtempSync(join(tmpdir(), `pilotlight-${first}-`));
  try {
    for (const [program, binary] of binaries) copyFileSync(binary, join(context, program));
    writeFileSync(join(context, 'Dockerfile'), dockerfile);
    await dockerBuild({ context, tag: name });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return name;
}
