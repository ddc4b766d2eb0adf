"""The sentences of a verdict, in Korean and English: three for each kind and each way it shows.

What is the matter, how one knows, what helps. Losses are in nats per token. The names in braces are
of a finding's evidence; `malmoi.evaluate.words` fills them in.
"""

KO = {  # no particle stands behind a number: which one is right depends on how it is read
    "healthy": (
        "건강합니다. 걱정할 만한 것을 찾지 못했어요.",
        "검증 손실 {best:.3f}, 학습 손실 {train:.3f}. 가장 좋은 가중치는 {step}스텝의 것이에요.",
        "이제 말을 시켜 보세요.",
    ),
    "healthy.floors": (
        "건강합니다. 걱정할 만한 것을 찾지 못했어요.",
        "검증 손실 {best:.3f}, 학습 손실 {train:.3f}. 세기만 하는 트라이그램({trigram:.3f})보다 "
        "낫습니다. 가장 좋은 가중치는 {step}스텝의 것이에요.",
        "이제 말을 시켜 보세요.",
    ),
    "unclear": (
        "아직 판단할 수 없어요.",
        "평가가 아직 {evaluations}번뿐이에요. 곡선을 읽으려면 네 번은 있어야 해요.",
        "조금 더 오래 배우게 해 주세요.",
    ),
    "diverged.risen": (
        "{step}스텝 뒤로 학습이 발산했어요.",
        "검증 손실이 가장 좋을 때보다({best:.3f}) 끝에 훨씬 나빠졌어요({last:.3f}). 학습 글에서도 "
        "나빠졌으니 과적합은 아니에요.",
        "학습률을 낮추면 대개 낫습니다. 발산하기 전의 가장 좋은 가중치는 남아 있어요.",
    ),
    "diverged.lost": (
        "{step}스텝부터 손실이나 기울기가 숫자가 아니게 되어 학습이 무너졌어요.",
        "건너뛴 스텝이 {skipped}개, 체크포인트로 되돌아간 것이 {rollbacks}번이에요.",
        "학습률을 낮추면 대개 낫습니다. 무너지기 전의 가장 좋은 가중치는 남아 있어요.",
    ),
    "diverged.recovered": (
        "학습이 한때 비틀거렸지만 다시 일어섰어요.",
        "손실이나 기울기가 숫자가 아니어서 건너뛴 스텝이 {skipped}개, 체크포인트로 되돌아간 것이 "
        "{rollbacks}번이에요. 마지막 손실은 괜찮아요.",
        "학습률을 낮추면 이런 일이 줄어요.",
    ),
    "lr_too_high.blown": (
        "학습률이 너무 높아요. 손실이 치솟았어요.",
        "학습 중의 손실({worst:.3f})이 배우기 전보다({untrained:.3f}) 나빴던 때가 있어요. 쓴 "
        "학습률 {lr:g}, 보통은 {usual:g}.",
        "학습률을 낮춰 보세요.",
    ),
    "lr_too_high.stuck": (
        "학습률이 너무 높아요. 손실이 제자리걸음을 했어요.",
        "학습률이 높은 동안 손실이 그대로였어요({stuck_at:.3f}). 토큰의 빈도만 아는 "
        "것(유니그램)과 비슷해요. 쓴 학습률 {lr:g}, 보통은 {usual:g}.",
        "학습률을 낮춰 보세요.",
    ),
    "lr_too_high.leaping": (
        "학습률이 너무 높아 보여요. 기울기가 자꾸 튀어요.",
        "{steps}스텝 가운데 {spikes}번이나 기울기가 바로 앞 스텝들의 다섯 배를 넘었어요. 쓴 "
        "학습률 {lr:g}, 보통은 {usual:g}.",
        "학습률을 낮춰 보세요.",
    ),
    "lr_too_low": (
        "학습률이 너무 낮아요. 이제 막 배우기 시작한 모습이에요.",
        "{steps}스텝 동안 손실이 조금밖에 내려오지 않았고({untrained:.3f} → {last:.3f}) 아직 "
        "내려가는 중이에요. 쓴 학습률 {lr:g}, 보통은 {usual:g}.",
        "학습률을 높여 보세요.",
    ),
    "leaking": (
        "{part}용 글이 학습 글에 그대로 들어 있어요. 손실이 실제보다 좋아 보입니다.",
        "{part} 토큰의 {share:.1%}가 학습 글과 글자 그대로 겹치는 구간({length}토큰 이상)에 "
        "있어요.",
        "겹치는 글을 덜어 내고 다시 배우게 하거나, 출처가 다른 글로 재 보세요.",
    ),
    "overfitting": (
        "{step}스텝부터 과적합이에요.",
        "검증 손실은 {step}스텝에서 가장 좋았고({best:.3f}) 그 뒤로 올랐는데({last:.3f}), 학습 "
        "손실은 계속 내려갔어요({train:.3f}). 검증 손실이 평소에 흔들리는 폭은 "
        "{jitter:.3f}쯤이에요.",
        "저장된 가중치는 가장 좋았던 때의 것이니 그대로 써도 됩니다. 더 잘하려면 글을 늘리거나, "
        "드롭아웃을 켜거나, 일찍 멈추게 해 보세요.",
    ),
    "memorising": (
        "모델이 학습 글을 외웠어요.",
        "만들어 낸 {tokens}토큰의 {share:.1%}가 학습 글에 글자 그대로 있는 구간({length}토큰 "
        "이상)이에요. 사람이 쓴 처음 보는 글에서는 {expected:.1%}예요.",
        "글을 늘리거나, 드롭아웃을 켜거나, 일찍 멈추거나, 모델을 줄여 보세요.",
    ),
    "memorising.alone": (
        "모델이 학습 글을 외웠어요.",
        "만들어 낸 {tokens}토큰의 {share:.1%}가 학습 글에 글자 그대로 있는 구간({length}토큰 "
        "이상)이에요.",
        "글을 늘리거나, 드롭아웃을 켜거나, 일찍 멈추거나, 모델을 줄여 보세요.",
    ),
    "worse_than_trigram": (
        "트라이그램보다 낫지 않아요.",
        "검증 손실 {best:.3f}. 세 토큰씩 세기만 해도 {trigram:.3f}, 토큰의 빈도만 알아도 "
        "{unigram:.3f}까지는 돼요.",
        "더 오래, 또는 더 나은 설정으로 배우게 해 주세요.",
    ),
    "underfitting.time": (
        "덜 배웠어요(과소적합). 한창 배우는 중에 끝났어요.",
        "{steps}스텝을 배우고 끝났을 때({last:.3f}) 손실이 아직 가파르게 내려가고 있었어요. 두 "
        "배로 배우면 {promise:.0%}쯤 더 내려갈 것 같아요.",
        "더 오래 배우게 해 주세요.",
    ),
    "underfitting.start": (
        "덜 배웠어요(과소적합). 이제 막 배우기 시작했을 때 끝났어요.",
        "{steps}스텝 동안 손실이 거의 곧은 선으로 내려왔어요({untrained:.3f} → {last:.3f}). 배울 "
        "것이 아직 많다는 뜻이에요.",
        "더 오래 배우게 해 주세요.",
    ),
    "underfitting.skill": (
        "덜 배웠어요(과소적합). 학습 글에서도 아직 서툴러요.",
        "학습 손실({train:.3f})과 검증 손실({best:.3f})이 비슷하니 외운 것은 아닌데, 세기만 하는 "
        "트라이그램({trigram:.3f})에도 못 미쳐요.",
        "더 오래 배우게 해 주세요.",
    ),
    "underfitting.size": (
        "모델이 너무 작아요(과소적합). 더 배워도 나아지지 않아요.",
        "학습 손실({train:.3f})과 검증 손실({best:.3f})이 비슷하고 더 내려가지도 않는데, 세기만 "
        "하는 트라이그램({trigram:.3f})에도 못 미쳐요.",
        "더 큰 모델을 써 보세요.",
    ),
    "batch_too_small": (
        "배치가 너무 작아요. 한 스텝 한 스텝이 거의 잡음이에요.",
        "기울기 잡음 규모는 {noise_scale:,.0f}토큰인데 배치는 "
        "{batch:,}토큰뿐이에요({ratio:.0f}배).",
        "배치를 키우면 같은 시간에 더 많이 배워요.",
    ),
}

EN = {
    "healthy": (
        "Healthy. Nothing was found that should worry you.",
        "The validation loss is {best:.3f}, the training loss {train:.3f}. The best weights are "
        "those of step {step}.",
        "Let it speak.",
    ),
    "healthy.floors": (
        "Healthy. Nothing was found that should worry you.",
        "The validation loss is {best:.3f}, the training loss {train:.3f}, and counting trigrams "
        "reaches {trigram:.3f}. The best weights are those of step {step}.",
        "Let it speak.",
    ),
    "unclear": (
        "It is too early to say.",
        "Evaluations so far: {evaluations}. It takes four to read a curve.",
        "Train a little longer.",
    ),
    "diverged.risen": (
        "Training diverged after step {step}.",
        "The validation loss was {best:.3f} at its best and {last:.3f} at the end. It got worse "
        "on the training text too, so this is not overfitting.",
        "A lower learning rate usually helps. The best weights before that are kept.",
    ),
    "diverged.lost": (
        "Training broke down from step {step} on: the loss or the gradient was no longer a number.",
        "Steps skipped: {skipped}. Times it went back to a checkpoint: {rollbacks}.",
        "A lower learning rate usually helps. The best weights before that are kept.",
    ),
    "diverged.recovered": (
        "Training stumbled, and got up again.",
        "Steps skipped because the loss or the gradient was not a number: {skipped}. Times it "
        "went back to a checkpoint: {rollbacks}. The last loss is fine.",
        "A lower learning rate makes this rarer.",
    ),
    "lr_too_high.blown": (
        "The learning rate is too high: the loss blew up.",
        "Untrained the loss was {untrained:.3f}; while training it rose to {worst:.3f}. The "
        "learning rate is {lr:g}, {usual:g} is usual.",
        "Lower the learning rate.",
    ),
    "lr_too_high.stuck": (
        "The learning rate is too high: the loss stood still.",
        "While the learning rate was high the loss stayed at {stuck_at:.3f}, close to knowing "
        "nothing but how frequent tokens are. The learning rate is {lr:g}, {usual:g} is usual.",
        "Lower the learning rate.",
    ),
    "lr_too_high.leaping": (
        "The learning rate looks too high: the gradient leaps again and again.",
        "In {spikes} of {steps} steps the gradient was more than five times as large as just "
        "before. The learning rate is {lr:g}, {usual:g} is usual.",
        "Lower the learning rate.",
    ),
    "lr_too_low": (
        "The learning rate is too low: the model has hardly begun to learn.",
        "In {steps} steps the loss came from {untrained:.3f} to {last:.3f} only, and it is still "
        "falling. The learning rate is {lr:g}, {usual:g} is usual.",
        "Raise the learning rate.",
    ),
    "leaking": (
        "Text of the {part} part stands in the training text: its loss looks better than it is.",
        "{share:.1%} of the {part} tokens lie in spans of {length} tokens or more that the "
        "training text has word for word.",
        "Take the copies out and train anew, or measure on text from somewhere else.",
    ),
    "overfitting": (
        "Overfitting from step {step} on.",
        "The validation loss was best at step {step} with {best:.3f} and rose to {last:.3f}, "
        "while the training loss kept falling, to {train:.3f}. It wavers by {jitter:.3f} anyway.",
        "The weights that were kept are the best ones, so they can be used. To do better: more "
        "text, dropout, or stopping early.",
    ),
    "memorising": (
        "The model has learnt its text by heart.",
        "Of {tokens} generated tokens, {share:.1%} lie in spans of {length} tokens or more that "
        "the training text has word for word; of unseen text, {expected:.1%} do.",
        "More text, dropout, stopping early, or a smaller model.",
    ),
    "memorising.alone": (
        "The model has learnt its text by heart.",
        "Of {tokens} generated tokens, {share:.1%} lie in spans of {length} tokens or more that "
        "the training text has word for word.",
        "More text, dropout, stopping early, or a smaller model.",
    ),
    "worse_than_trigram": (
        "No better than a trigram.",
        "The validation loss is {best:.3f}; counting three tokens at a time reaches "
        "{trigram:.3f}, and knowing how frequent tokens are {unigram:.3f}.",
        "Train for longer, or with better settings.",
    ),
    "underfitting.time": (
        "Underfitting: training stopped while the model was still learning fast.",
        "After {steps} steps the loss was {last:.3f} and still falling steeply. Twice the steps "
        "may lower it by another {promise:.0%}.",
        "Train for longer.",
    ),
    "underfitting.start": (
        "Underfitting: training stopped when the model had only begun to learn.",
        "In {steps} steps the loss came down nearly on a straight line, from {untrained:.3f} to "
        "{last:.3f}. There is much left to learn.",
        "Train for longer.",
    ),
    "underfitting.skill": (
        "Underfitting: the model is not good at its training text yet, either.",
        "The training loss of {train:.3f} and the validation loss of {best:.3f} are close "
        "together, and counting trigrams reaches {trigram:.3f}.",
        "Train for longer.",
    ),
    "underfitting.size": (
        "Underfitting: the model is too small, and more training does not change that.",
        "The training loss of {train:.3f} and the validation loss of {best:.3f} are close "
        "together and no longer fall, while counting trigrams reaches {trigram:.3f}.",
        "Use a bigger model.",
    ),
    "batch_too_small": (
        "The batch is too small: each step is mostly noise.",
        "The gradient noise scale is {noise_scale:,.0f} tokens, and a batch has {batch:,} "
        "({ratio:.0f} times less).",
        "A larger batch learns more in the same time.",
    ),
}
