{{- /* Every pool with the defaults under what it says itself, as JSON by name. */ -}}
{{- define "lora-api.pools" -}}
{{- if not .Values.pools -}}
{{- fail "pools: name at least one, with a catalog; ci/minimal-values.yaml is an example" -}}
{{- end -}}
{{- $pools := dict -}}
{{- range $name, $own := .Values.pools -}}
{{- $pool := mergeOverwrite (deepCopy $.Values.poolDefaults) (deepCopy ($own | default dict)) -}}
{{- if eq $pool.variant "cpu" -}}
{{- $_ := set $pool.gpu "count" 0 -}}
{{- end -}}
{{- include "lora-api.checkPool" (dict "root" $ "name" $name "pool" $pool) -}}
{{- $_ := set $pools $name $pool -}}
{{- end -}}
{{- include "lora-api.checkSharing" (dict "root" $ "pools" $pools) -}}
{{- toJson $pools -}}
{{- end -}}

{{- define "lora-api.defaultPool" -}}
{{- $names := keys .Values.pools | sortAlpha -}}
{{- $name := default (first $names) .Values.defaultPool -}}
{{- if and (gt (len $names) 1) (not .Values.defaultPool) -}}
{{- fail "defaultPool: say which of the pools answers at the main host" -}}
{{- end -}}
{{- if not (has $name $names) -}}
{{- fail (printf "defaultPool: there is no pool %s" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "lora-api.checkPool" -}}
{{- $pool := .pool -}}
{{- $where := printf "pools.%s" .name -}}
{{- if not $pool.catalog.models -}}
{{- fail (printf "%s.catalog: list the models that the pool serves" $where) -}}
{{- end -}}
{{- $most := int (include "lora-api.mostReplicas" $pool) -}}
{{- if and (include "lora-api.hasOneWriter" $pool) (gt $most 1) -}}
{{- fail (printf "%s.data.type: a claim is for one replica; take emptyDir or ephemeral" $where) -}}
{{- end -}}
{{- range $volume := list "data" "modelCache" -}}
{{- $spec := index $pool $volume -}}
{{- if and (eq $spec.type "existingClaim") (not $spec.claimName) -}}
{{- fail (printf "%s.%s.claimName: name the existing claim" $where $volume) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $pool.autoscaling.kind "keda") (not $pool.autoscaling.keda.serverAddress) -}}
{{- fail (printf "%s.autoscaling.keda.serverAddress: say where Prometheus is" $where) -}}
{{- end -}}
{{- if gt (int $pool.autoscaling.minReplicas) (int $pool.autoscaling.maxReplicas) -}}
{{- fail (printf "%s.autoscaling: minReplicas is more than maxReplicas" $where) -}}
{{- end -}}
{{- if and $pool.inferencePool.enabled (not $pool.inferencePool.endpointPicker.name) -}}
{{- fail (printf "%s.inferencePool.endpointPicker.name: name its Service" $where) -}}
{{- end -}}
{{- if $pool.multiNode.enabled -}}
{{- include "lora-api.checkMultiNode" (dict "where" $where "pool" $pool) -}}
{{- end -}}
{{- end -}}

{{- define "lora-api.checkMultiNode" -}}
{{- $pool := .pool -}}
{{- $where := .where -}}
{{- range $model := $pool.catalog.models -}}
{{- if ne (dig "vllm" "distributed_executor_backend" "" $model) "ray" -}}
{{- fail (printf "%s: model %s: set vllm.distributed_executor_backend to ray" $where $model.id) -}}
{{- end -}}
{{- if and $model.lora (ne $pool.data.type "existingClaim") -}}
{{- $hint := "take an existingClaim that several nodes can write" -}}
{{- fail (printf "%s.data.type: every node reads adapters; %s" $where $hint) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* State that replicas cannot share is for one replica of one pool. */ -}}
{{- define "lora-api.checkSharing" -}}
{{- $values := .root.Values -}}
{{- $most := 0 -}}
{{- $lasting := true -}}
{{- range $pool := .pools -}}
{{- $most = add $most (int (include "lora-api.mostReplicas" $pool)) -}}
{{- if not (has $pool.data.type (list "claim" "existingClaim")) -}}
{{- $lasting = false -}}
{{- end -}}
{{- end -}}
{{- $alone := list -}}
{{- if not $values.database.existingSecret.name -}}
{{- $alone = append $alone "database.existingSecret.name" -}}
{{- end -}}
{{- if not $values.auth.existingSecret.name -}}
{{- $alone = append $alone "auth.existingSecret.name" -}}
{{- end -}}
{{- if ne $values.store.kind "s3" -}}
{{- $alone = append $alone "store.kind (s3)" -}}
{{- end -}}
{{- if and $alone (gt (int $most) 1) -}}
{{- fail (printf "several replicas share their state: set %s" (join ", " $alone)) -}}
{{- end -}}
{{- if and $alone (not $lasting) -}}
{{- fail (printf "state would be lost with the pod: set %s, or data.type claim" (join ", " $alone)) -}}
{{- end -}}
{{- if and (eq $values.store.kind "s3") (not $values.store.bucket) -}}
{{- fail "store.bucket: name the bucket" -}}
{{- end -}}
{{- end -}}

{{- define "lora-api.mostReplicas" -}}
{{- ternary .replicas .autoscaling.maxReplicas (eq .autoscaling.kind "none") | int -}}
{{- end -}}

{{- /* Says yes where only one server at a time may have the data volume. */ -}}
{{- define "lora-api.hasOneWriter" -}}
{{- if and (has .data.type (list "claim" "existingClaim")) (not .multiNode.enabled) -}}yes{{- end -}}
{{- end -}}

{{- define "lora-api.config" -}}
catalog.yaml: {{ toPrettyJson .pool.catalog | quote }}
{{- with .root.Values.plans }}
plans.yaml: {{ toPrettyJson . | quote }}
{{- end }}
{{- range $name, $content := .pool.files }}
{{ $name }}: {{ $content | quote }}
{{- end }}
{{- end -}}
