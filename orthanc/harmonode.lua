-- Forwards every original CT series to the modality `harmonode` as soon as it is stable.
--
-- Every one, not the chests alone: which series are harmonized is for the node's rules to say. They see all headers,
-- explain themselves and are audited, and a change of them needs no restart of Orthanc. What comes back is derived, and
-- is not forwarded; the node would not harmonize it either.
--
-- Lua, because every Orthanc has it inside. Python needs a plugin that is built for one version of Python.
--
-- By hand: the button of harmonode.py where Orthanc has the Python plugin; "Send to DICOM modality" on the page of a series in Orthanc Explorer, or
--   curl http://localhost:8042/modalities/harmonode/store -d SERIES

local NODE = 'harmonode'

-- Why a series stays here; nil where it goes to the node.
local function stays(series, tags)
  if tags.Modality ~= 'CT' then
    return 'its Modality (0008,0060) is ' .. tostring(tags.Modality)
  end
  -- One instance tells for the series: the node looks at all of them again.
  local instance = ParseJson(RestApiGet('/series/' .. series)).Instances[1]
  local header = ParseJson(RestApiGet('/instances/' .. instance .. '/simplified-tags'))
  for value in string.gmatch(string.upper(header.ImageType or ''), '[^\\]+') do
    if value == 'DERIVED' or value == 'LOCALIZER' then
      return 'its Image Type (0008,0008) says ' .. value
    end
  end
  -- The node's own, even where somebody has changed the Image Type since.
  for _, equipment in ipairs(header.ContributingEquipmentSequence or {}) do
    if string.find(equipment.ManufacturerModelName or '', '^harmonode ') then
      return 'harmonode has made it, says its Contributing Equipment (0018,A001)'
    end
  end
end

-- One job a series, and so one association. SendToModality() would forget a series that it could not send.
function OnStableSeries(series, tags)
  local uid = tostring(tags.SeriesInstanceUID)
  local reason = stays(series, tags)
  if reason then
    print('Series ' .. uid .. ' is not forwarded to ' .. NODE .. ': ' .. reason)
  elseif RestApiPost('/modalities/' .. NODE .. '/store', DumpJson({ Resources = { series }, Asynchronous = true })) then
    print('Series ' .. uid .. ' is being forwarded to ' .. NODE)
  else
    print('Series ' .. uid .. ' cannot be forwarded: there is no ' .. NODE .. ' among DicomModalities')
  end
  OnHeartBeat()
end

-- Whether a job stores to the node.
local function is_forward(job)
  local node = RestApiGet('/modalities/' .. NODE .. '/configuration')
  return node ~= nil and job.Type == 'DicomModalityStore' and job.Content.RemoteAet == ParseJson(node).AET
end

-- The forwards that failed, the one whose last try is longest ago first.
local function failed()
  local found = {}
  for _, job in ipairs(ParseJson(RestApiGet('/jobs?expand'))) do
    if job.State == 'Failure' and is_forward(job) then
      table.insert(found, job)
    end
  end
  table.sort(found, function(a, b) return a.CompletionTime < b.CompletionTime end)
  return found
end

local function again(job)
  RestApiPost('/jobs/' .. job.ID .. '/resubmit', '')
end

function OnJobFailure(id)
  local job = ParseJson(RestApiGet('/jobs/' .. id))
  if is_forward(job) then
    local what = table.concat(job.Content.ParentResources or {}, ', ')
    print('Forward of ' .. what .. ' to ' .. NODE .. ' failed and will be tried again: '
      .. job.ErrorDescription .. ' ' .. (job.ErrorDetails or ''))
  end
end

-- Orthanc never tries a failed job again by itself. Here one goes at each beat, to see whether the node is back: each
-- try of a node that does not answer takes DicomScuTimeout, of which hundreds at once would hold up all other jobs.
-- Orthanc before 1.11.1 has no heart beat; there the next stable series, of whatever kind, takes its place.
function OnHeartBeat()
  local job = failed()[1]
  if job then
    again(job)
  end
end

-- The node is there: all that waits goes now.
function OnJobSuccess(id)
  if is_forward(ParseJson(RestApiGet('/jobs/' .. id))) then
    for _, job in ipairs(failed()) do
      again(job)
    end
  end
end
