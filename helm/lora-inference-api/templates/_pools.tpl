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
{{- include "lora-api.checkModels" $pools -}}
{{- include "lora-api.checkSharing" (dict "root" $ "pools" $pools) -}}
{{- toJson $pools -}}
{{- end -}}

{{- /* The pool behind the main Service; nothing where it is every pool of several. */ -}}
{{- define "lora-api.defaultPool" -}}
{{- $names := keys .Values.pools -}}
{{- $named := .Values.defaultPool -}}
{{- if and $named (not (has $named $names)) -}}
{{- fail (printf "defaultPool: there is no pool %s" $named) -}}
{{- end -}}
{{- ternary (first $names) $named (eq (len $names) 1) -}}
{{- end -}}

{{- /* A pool for what one of them has to do. */ -}}
{{- define "lora-api.firstPool" -}}
{{- include "lora-api.defaultPool" . | default (keys .Values.pools | sortAlpha | first) -}}
{{- end -}}

{{- /* Where other pools are, and what they serve, sorted: as lora-api.podSpec. */ -}}
{{- define "lora-api.otherPools" -}}
{{- $others := list -}}
{{- range $name, $pool := omit (include "lora-api.pools" .root | fromJson) .name -}}
{{- $service := printf "%s-%s" (include "lora-api.fullname" $.root) $name -}}
{{- $port := int $.root.Values.service.port -}}
{{- $url := printf "http://%s.%s.svc:%d" $service $.root.Release.Namespace $port -}}
{{- $ids := list -}}
{{- range $model := $pool.catalog.models -}}
{{- $ids = append $ids $model.id -}}
{{- end -}}
{{- $others = append $others (dict "url" $url "models" (sortAlpha $ids)) -}}
{{- end -}}
{{- toJson $others -}}
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

{{- /* A request goes to the pool that has its model, so one pool has it. */ -}}
{{- define "lora-api.checkModels" -}}
{{- $owners := dict -}}
{{- range $name, $pool := . -}}
{{- range $model := $pool.catalog.models -}}
{{- with get $owners $model.id -}}
{{- fail (printf "pools.%s.catalog: model %s is in pools.%s already" $name $model.id .) -}}
{{- end -}}
{{- $_ := set $owners $model.id $name -}}
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
