{{- /* Plain settings as one map of variables: as lora-api.podSpec. */ -}}
{{- define "lora-api.variables" -}}
{{- $values := .root.Values -}}
{{- $env := dict
  "XDG_CACHE_HOME" "/var/cache/lora-api"
  "HF_HOME" "/var/cache/lora-api/huggingface"
  "VLLM_CACHE_ROOT" "/var/cache/lora-api/vllm"
  "TORCHINDUCTOR_CACHE_DIR" "/var/cache/lora-api/torchinductor"
  "TRITON_CACHE_DIR" "/var/cache/lora-api/triton"
  "FLASHINFER_WORKSPACE_BASE" "/var/cache/lora-api"
  "CUDA_CACHE_PATH" "/var/cache/lora-api/cuda"
  "LORA_API_CATALOG" "/etc/lora-api/catalog.yaml"
  "LORA_API_DATA_DIR" "/var/lib/lora-api"
  "LORA_API_SERVER__HOST" "0.0.0.0"
  "LORA_API_SERVER__PORT" "8000"
  "LORA_API_SERVER__DRAIN_SECONDS" (toString $values.shutdown.drainSeconds)
  "LORA_API_DATABASE__POOL_SIZE" (toString $values.database.poolSize)
  "LORA_API_AUTH__CACHE_SECONDS" (toString $values.auth.cacheSeconds)
  "LORA_API_STORE__KIND" $values.store.kind
  "LORA_API_STORE__MAX_CONCURRENCY" (toString $values.store.maxConcurrency) -}}
{{- if $values.plans -}}
{{- $_ := set $env "LORA_API_PLANS" "/etc/lora-api/plans.yaml" -}}
{{- end -}}
{{- $store := dict
  "BUCKET" "bucket"
  "PREFIX" "prefix"
  "ENDPOINT_URL" "endpointUrl"
  "REGION" "region" -}}
{{- range $name, $key := $store -}}
{{- with index $values.store $key -}}
{{- $_ := set $env (printf "LORA_API_STORE__%s" $name) . -}}
{{- end -}}
{{- end -}}
{{- if and (gt (len $values.pools) 1) (ne .role "worker") -}}
{{- $_ := set $env "LORA_API_POOLS" (include "lora-api.otherPools" .) -}}
{{- end -}}
{{- $settings := mergeOverwrite (deepCopy $values.settings) (deepCopy .pool.settings) -}}
{{- range $group, $fields := $settings -}}
{{- if kindIs "map" $fields -}}
{{- range $field, $value := $fields -}}
{{- $variable := printf "LORA_API_%s__%s" (upper $group) (upper $field) -}}
{{- $_ := set $env $variable (include "lora-api.text" $value) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $env (printf "LORA_API_%s" (upper $group)) (include "lora-api.text" $fields) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .pool.env -}}
{{- $_ := set $env $name (include "lora-api.text" $value) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{- /* Large numbers as digits: Go would print an exponent. */ -}}
{{- define "lora-api.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{- /* One variable from a Secret: list name secret key. */ -}}
{{- define "lora-api.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{ end -}}

{{- define "lora-api.serverSecrets" -}}
{{- with .Values.database.existingSecret }}{{ if .name }}
{{- include "lora-api.secretVariable" (list "LORA_API_DATABASE__URL" .name .key) }}
{{- end }}{{ end }}
{{- with .Values.auth.existingSecret }}{{ if .name }}
{{- include "lora-api.secretVariable" (list "LORA_API_AUTH__SECRET" .name .key) }}
{{- end }}{{ end }}
{{- with .Values.rateLimits.existingSecret }}{{ if .name }}
{{- include "lora-api.secretVariable" (list "LORA_API_RATE_LIMITS__STORAGE_URL" .name .key) }}
{{- end }}{{ end }}
{{- with .Values.store.existingSecret }}{{ if .name }}
{{- include "lora-api.secretVariable" (list "AWS_ACCESS_KEY_ID" .name .accessKeyIdKey) }}
{{- include "lora-api.secretVariable" (list "AWS_SECRET_ACCESS_KEY" .name .secretAccessKeyKey) }}
{{- end }}{{ end }}
{{- end -}}

{{- define "lora-api.env" -}}
{{- range $name, $value := include "lora-api.variables" . | fromJson }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .root.Values.huggingFace.existingSecret }}{{ if .name }}
{{ include "lora-api.secretVariable" (list "HF_TOKEN" .name .key) | trim }}
{{- end }}{{ end }}
{{- /* Ray workers run the model and nothing else. */ -}}
{{- if ne .role "worker" }}
{{ include "lora-api.serverSecrets" .root | trim }}
{{- end }}
{{- end -}}
