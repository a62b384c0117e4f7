{{- /*
The pod of a server, or of a Ray worker: dict "root" $ "name" pool "pool" spec "role" role.
Roles are server, leader and worker.
*/ -}}
{{- define "lora-api.podSpec" -}}
{{- $root := .root -}}
{{- $pool := .pool -}}
serviceAccountName: {{ include "lora-api.serviceAccountName" $root }}
automountServiceAccountToken: false
# Their variables begin like the service's own, which refuses those that it does not know.
enableServiceLinks: false
securityContext:
  {{- include "lora-api.podSecurity" $root | nindent 2 }}
terminationGracePeriodSeconds: {{ include "lora-api.grace" $root }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- include "lora-api.placement" . }}
containers:
  - name: {{ ternary "worker" "server" (eq .role "worker") }}
    {{- $image := include "lora-api.image" (dict "root" $root "variant" $pool.variant) }}
    image: {{ default $image $pool.image }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    {{- include "lora-api.command" . | nindent 4 }}
    env:
      {{- include "lora-api.env" . | trim | nindent 6 }}
      {{- if $pool.multiNode.enabled }}
      - name: VLLM_HOST_IP
        valueFrom:
          fieldRef:
            fieldPath: status.podIP
      - name: RAY_ADDRESS
        value: $(LWS_LEADER_ADDRESS):{{ $pool.multiNode.rayPort }}
      {{- end }}
    {{- with $pool.envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if ne .role "worker" }}
    ports:
      - name: http
        containerPort: 8000
        protocol: TCP
    {{- include "lora-api.probes" . | nindent 4 }}
    {{- end }}
    lifecycle:
      preStop:
        exec:
          command: [sleep, {{ include "lora-api.preStop" . | quote }}]
    resources:
      {{- include "lora-api.resources" $pool | nindent 6 }}
    securityContext:
      {{- include "lora-api.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      - name: config
        mountPath: /etc/lora-api
        readOnly: true
      - name: data
        mountPath: /var/lib/lora-api
        {{- if and $pool.multiNode.enabled (eq $pool.data.type "existingClaim") }}
        # The same for all pods of a group, and for no other: workers read the leader's adapters.
        subPathExpr: $(LWS_LEADER_ADDRESS)
        {{- end }}
      - name: model-cache
        mountPath: /var/cache/lora-api
      - name: tmp
        mountPath: /tmp
      - name: shm
        mountPath: /dev/shm
volumes:
  - name: config
    configMap:
      name: {{ include "lora-api.fullname" $root }}-{{ .name }}
  {{- $volumes := dict "data" $pool.data "model-cache" $pool.modelCache }}
  {{- range $volume, $spec := $volumes }}
  {{- include "lora-api.volume" (dict "context" $ "volume" $volume "spec" $spec) | nindent 2 }}
  {{- end }}
  - name: tmp
    emptyDir: {}
  - name: shm
    emptyDir:
      medium: Memory
      sizeLimit: {{ $pool.sharedMemory }}
{{- end -}}

{{- /* A worker outlives what its leader still answers. */ -}}
{{- define "lora-api.preStop" -}}
{{- with .root.Values.shutdown -}}
{{- if eq $.role "worker" -}}
{{- add .preStopSeconds .drainSeconds 5 -}}
{{- else -}}
{{- .preStopSeconds -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lora-api.grace" -}}
{{- with .Values.shutdown -}}
{{- add .preStopSeconds .drainSeconds 5 .marginSeconds -}}
{{- end -}}
{{- end -}}

{{- define "lora-api.placement" -}}
{{- $pool := .pool }}
{{- with $pool.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $pool.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pool.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pool.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := $pool.tolerations }}
{{- if and $pool.gpu.tolerate (gt (int $pool.gpu.count) 0) }}
{{- $taint := dict "key" $pool.gpu.resourceName "operator" "Exists" "effect" "NoSchedule" }}
{{- $tolerations = append $tolerations $taint }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $selector := dict "matchLabels" (include "lora-api.poolSelector" . | fromYaml) }}
{{- $keys := dict "nodes" "kubernetes.io/hostname" "zones" "topology.kubernetes.io/zone" }}
{{- $spread := list }}
{{- range $scope, $key := $keys }}
{{- $mode := index $pool.topologySpread $scope }}
{{- if ne $mode "Off" }}
{{- $constraint := dict "topologyKey" $key "whenUnsatisfiable" $mode "labelSelector" $selector }}
{{- $spread = append $spread (set $constraint "maxSkew" 1) }}
{{- end }}
{{- end }}
{{- /* The pods of a group belong near one another. */ -}}
{{- if and $spread (eq .role "server") }}
topologySpreadConstraints:
  {{- toYaml $spread | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "lora-api.command" -}}
{{- $port := int .pool.multiNode.rayPort -}}
{{- if eq .role "server" -}}
args: [serve]
{{- else if eq .role "leader" -}}
command:
  - /usr/bin/tini
  - --
  - /bin/sh
  - -ec
  - |
    ray start --head --port={{ $port }} --include-dashboard=false --disable-usage-stats
    exec lora-api serve
{{- else -}}
command:
  - /usr/bin/tini
  - --
  - /bin/sh
  - -ec
  - |
    until ray health-check --address "$RAY_ADDRESS"; do sleep 2; done
    exec ray start --address="$RAY_ADDRESS" --disable-usage-stats --block
{{- end -}}
{{- end -}}

{{- define "lora-api.probes" -}}
{{- $probes := .root.Values.probes -}}
{{- $timing := pick $probes "periodSeconds" "timeoutSeconds" | toYaml -}}
# The server listens when its models are loaded.
startupProbe:
  httpGet: {path: /health/live, port: http}
  failureThreshold: {{ divf .pool.startupSeconds $probes.periodSeconds | ceil }}
  {{- $timing | nindent 2 }}
livenessProbe:
  httpGet: {path: /health/live, port: http}
  failureThreshold: {{ $probes.livenessFailures }}
  {{- $timing | nindent 2 }}
readinessProbe:
  httpGet: {path: /health/ready, port: http}
  failureThreshold: {{ $probes.readinessFailures }}
  {{- $timing | nindent 2 }}
{{- end -}}

{{- define "lora-api.resources" -}}
{{- $limits := deepCopy .resources.limits -}}
{{- if gt (int .gpu.count) 0 -}}
{{- $_ := set $limits .gpu.resourceName (int .gpu.count) -}}
{{- end -}}
requests:
  {{- toYaml .resources.requests | nindent 2 }}
{{- with $limits }}
limits:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "lora-api.volume" -}}
{{- $claim := printf "%s-%s-%s" (include "lora-api.fullname" .context.root) .context.name .volume -}}
- name: {{ .volume }}
{{- if eq .spec.type "emptyDir" }}
  emptyDir:
    sizeLimit: {{ .spec.size }}
{{- else if eq .spec.type "ephemeral" }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        {{- include "lora-api.claimSpec" .spec | nindent 8 }}
{{- else }}
  persistentVolumeClaim:
    claimName: {{ ternary $claim .spec.claimName (eq .spec.type "claim") }}
{{- end }}
{{- end -}}

{{- define "lora-api.claimSpec" -}}
accessModes: [{{ .accessMode }}]
{{- with .storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}
