/** The section whose commands want a cluster. */
export const KUBERNETES_SECTION = 'On Kubernetes';

/** What stands behind `$ ` in the console blocks of those sections of a page whose titles are wanted. */
export function commandsOf(markdown: string, isWanted: (title: string) => boolean): string[] {
  return markdown
    .split(/^## /m)
    .filter((section) => isWanted(section.slice(0, section.indexOf('\n')).trim()))
    .flatMap((section) => [...section.matchAll(/```console\n([\s\S]*?)```/g)])
    .flatMap(([, block = '']) => block.split('\n'))
    .filter((line) => line.startsWith('$ '))
    .map((line) => line.slice(2).trim());
}
