import { z } from 'zod';

/**
 * How to reach the store that a model lies in, and as whom. It travels with the claim, and the runtime never writes it
 * to disk. What is left out of an access, neither credentials nor `anonymous`, the runtime looks for in its own
 * environment: the identity of its pod.
 */

export const s3AccessSchema = z.object({
  endpoint: z.string().optional(),
  region: z.string().optional(),
  accessKeyId: z.string().optional(),
  secretAccessKey: z.string().optional(),
  sessionToken: z.string().optional(),
  /** Bucket in the host name instead of the path. */
  virtualHosted: z.boolean().optional(),
  anonymous: z.boolean().optional(),
  /** False accepts any certificate. Default true. */
  verifySsl: z.boolean().optional(),
});
export type S3Access = z.infer<typeof s3AccessSchema>;

export const gcsAccessSchema = z.object({
  /** Base of the JSON API, for an emulator; Google's own when absent. */
  endpoint: z.string().optional(),
  /** A service account's key: from its JSON file, what a signed request for a token takes. */
  serviceAccount: z
    .object({
      clientEmail: z.string(),
      /** PEM, PKCS #8. */
      privateKey: z.string(),
      privateKeyId: z.string().optional(),
      tokenUri: z.string(),
    })
    .optional(),
  anonymous: z.boolean().optional(),
});
export type GcsAccess = z.infer<typeof gcsAccessSchema>;

export const azureAccessSchema = z.object({
  /** Base URL of the account; `https://<account>.blob.core.windows.net` when absent. */
  endpoint: z.string().optional(),
  /** The account's shared key, base64. */
  accountKey: z.string().optional(),
  /** A shared access signature: the query string, without `?`. */
  sasToken: z.string().optional(),
  /** An application of Microsoft Entra ID with a secret. */
  servicePrincipal: z
    .object({
      tenantId: z.string(),
      clientId: z.string(),
      clientSecret: z.string(),
      /** Where tokens come from; Azure's public cloud when absent. */
      authorityHost: z.string().optional(),
    })
    .optional(),
  anonymous: z.boolean().optional(),
});
export type AzureAccess = z.infer<typeof azureAccessSchema>;

export const httpAccessSchema = z.object({
  /** Sent to the URI's own origin only, never to where it redirects. */
  headers: z.record(z.string(), z.string()),
});
export type HttpAccess = z.infer<typeof httpAccessSchema>;

/** At most the one that the model's URI needs. */
export const storageAccessSchema = z.object({
  s3: s3AccessSchema.optional(),
  gcs: gcsAccessSchema.optional(),
  azure: azureAccessSchema.optional(),
  http: httpAccessSchema.optional(),
});
export type StorageAccess = z.infer<typeof storageAccessSchema>;
