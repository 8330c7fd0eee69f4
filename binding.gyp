{
  # Nothing is described here: `node-gyp rebuild` hands over to the build of scripts/build.mjs.
  'targets': [
    {
      'target_name': 'cortorch',
      'type': 'none',
      'actions': [
        {
          'action_name': 'build',
          'inputs': ['scripts/build.mjs'],
          'outputs': ['build-native/always'], # never made, so that it is always asked whether there is something to do
          'action': ['node', 'scripts/build.mjs']
        }
      ]
    }
  ]
}
