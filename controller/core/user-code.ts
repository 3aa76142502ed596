import type { InferenceService } from '../../crds/schema.ts';

/** Namespaces whose services may bring code of their own; `*` stands for all. */
export type TransformNamespaces = readonly string[];

/**
 * Why a service may not have its `transform`, with what to do; undefined when it may, or has none.
 *
 * @param setting where the operator says so, for the message.
 */
export function transformProblem(
  service: InferenceService,
  allowed: TransformNamespaces,
  setting: string,
): { path: string; message: string } | undefined {
  const { namespace } = service.metadata;
  if (!hasUserCode(service) || allowed.includes('*') || allowed.includes(namespace)) return undefined;
  const message = `code of a service's own is not allowed in namespace "${namespace}" by the operator of this platform (${setting}): leave it out, or have it allowed`;
  return { path: 'spec.predictor.model.transform', message };
}

/** Whether replicas of a service run code of its own, so that nothing of them is ever used for another one. */
export function hasUserCode({ spec }: InferenceService): boolean {
  return spec.predictor.model?.transform !== undefined;
}
